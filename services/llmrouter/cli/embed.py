"""`embed`: texts as vectors."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from llmrouter.cli.asking import asking
from llmrouter.cli.generate import ModelName, Timeout
from llmrouter.cli.output import Json, counted, err, show_table, table, visible, write_json
from llmrouter.cli.places import Addresses, Place, gateways_at
from llmrouter_client import Embeddings

__all__ = ["embed"]

_SHOWN_VALUES = 4
_SHOWN_CHARACTERS = 60


def embed(
    *,
    texts: Annotated[list[str], typer.Argument(help="The texts; - reads one per line.")],
    model: ModelName = None,
    truncate: Annotated[bool, typer.Option("--truncate", help="Cut texts that are too long.")] = (
        False
    ),
    address: Addresses = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Turn texts into vectors; show how alike they are."""
    gateway = gateways_at(address)
    asked = _lines() if texts == ["-"] else texts
    found = asyncio.run(_embed(gateway, asked, model, truncate=truncate, timeout=timeout))
    if as_json:
        write_json(asdict(found))
        return
    show_table(_shown(asked, found))
    err().print(
        f"[dim]{escape(found.model)} @ {escape(found.version)}, "
        f"{counted(sum(one.tokens for one in found), 'token')}[/]"
    )


def _lines() -> list[str]:
    return [line for line in sys.stdin.read().splitlines() if line.strip()]


async def _embed(
    gateway: Place,
    texts: Sequence[str],
    model: str | None,
    *,
    truncate: bool,
    timeout: float | None,  # noqa: ASYNC109 - it is gRPC's deadline
) -> Embeddings:
    async with asking(gateway) as client:
        return await client.embed(texts, model=model, truncate=truncate, timeout=timeout)


def _shown(texts: Sequence[str], found: Embeddings) -> Table:
    made = table("text", ">tokens", ">values", "begins with", ">like the first")
    first = found[0].values
    for text, one in zip(texts, found, strict=True):
        shown = visible(text).replace("\n", " ")
        if len(shown) > _SHOWN_CHARACTERS:
            shown = f"{shown[: _SHOWN_CHARACTERS - 1]}…"
        begin = ", ".join(f"{value:+.3f}" for value in one.values[:_SHOWN_VALUES])
        cut = " [yellow]cut[/]" if one.truncated else ""
        made.add_row(
            f"[bold]{escape(shown)}[/]",
            f"{one.tokens}{cut}",
            str(len(one.values)),
            f"[dim]{begin} …[/]",
            f"{_cosine(first, one.values):.3f}",
        )
    return made


def _cosine(left: Sequence[float], right: Sequence[float]) -> float:
    scale = math.hypot(*left) * math.hypot(*right)
    return sum(a * b for a, b in zip(left, right, strict=True)) / scale if scale else 0.0
