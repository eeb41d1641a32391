"""The flags of `generate` that say what the cache may do."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from llmrouter_client import Options
from llmrouter_client.requests import CacheMode

__all__ = [
    "Allow",
    "Cache",
    "CacheAllow",
    "CachePace",
    "CacheTags",
    "CacheTtl",
    "NoCache",
    "wishes",
]


class Allow(StrEnum):
    """What the cache may do only when asked to."""

    DRAWN = "drawn"
    STALE = "stale"
    SIMILAR = "similar"


NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep the cache out: --cache off.")]
Cache = Annotated[
    CacheMode | None,
    typer.Option("--cache", help="What the cache may do; refresh answers anew and keeps that."),
]
CacheTtl = Annotated[float | None, typer.Option(help="Seconds that a kept answer lives.")]
CacheTags = Annotated[
    list[str] | None,
    typer.Option("--cache-tag", help="Name to invalidate the kept answer by; repeatable."),
]
CacheAllow = Annotated[
    list[Allow] | None,
    typer.Option(
        "--cache-allow",
        help="drawn: keep and reuse answers left to chance as well; stale: take an expired answer "
        "when no model can answer; similar: take the answer to a question that means the same; "
        "repeatable.",
    ),
]

CachePace = Annotated[
    str | None,
    typer.Option(
        "--cache-pace",
        metavar="original|TOKENS",
        help="How fast a kept answer comes: original, as it was generated, or so many tokens a "
        "second; by default at once.",
    ),
]


def wishes(
    no_cache: bool,
    cache: CacheMode | None,
    ttl: float | None,
    tags: list[str] | None,
    allow: list[Allow] | None,
    pace: str | None,
) -> Options:
    """Return the wishes as the client takes them.

    Raises:
        typer.BadParameter: The cache is to be kept out and to be used, or the pace is none.
    """
    if no_cache and cache not in {None, "off"}:
        raise typer.BadParameter(f"contradicts --cache {cache}", param_hint="--no-cache")
    mode = "off" if no_cache else cache
    options = Options(cache=mode, cache_ttl=ttl, cache_tags=tags)
    allowed = allow or ()
    options.update(Options(cache_drawn=Allow.DRAWN in allowed, cache_stale=Allow.STALE in allowed))
    options.update(Options(cache_similar=Allow.SIMILAR in allowed))
    options.update(_paced(pace))
    return options


def _paced(pace: str | None) -> Options:
    if pace is None:
        return Options()
    if pace == "original":
        return Options(cache_pace="original")
    try:
        return Options(cache_pace=float(pace))
    except ValueError:
        told = f"is {pace!r}; it must be original or a number of tokens a second"
        raise typer.BadParameter(told, param_hint="--cache-pace") from None
