"""The flags of `generate` that say what the cache may do."""

from __future__ import annotations

from typing import Annotated

import typer

from llmrouter_client import Options
from llmrouter_client.requests import CacheMode

__all__ = ["Cache", "CacheDrawn", "CacheStale", "CacheTags", "CacheTtl", "NoCache", "wishes"]

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
CacheDrawn = Annotated[
    bool, typer.Option("--cache-drawn", help="Keep and reuse answers left to chance as well.")
]
CacheStale = Annotated[
    bool, typer.Option("--cache-stale", help="Take an expired answer when no model can answer.")
]


def wishes(
    no_cache: bool,
    cache: CacheMode | None,
    ttl: float | None,
    tags: list[str] | None,
    drawn: bool,
    stale: bool,
) -> Options:
    """Return the wishes as the client takes them.

    Raises:
        typer.BadParameter: The cache is to be kept out and to be used.
    """
    if no_cache and cache not in {None, "off"}:
        raise typer.BadParameter(f"contradicts --cache {cache}", param_hint="--no-cache")
    mode = "off" if no_cache else cache
    options = Options(cache=mode, cache_ttl=ttl, cache_tags=tags)
    options.update(Options(cache_drawn=drawn or None, cache_stale=stale or None))
    return options
