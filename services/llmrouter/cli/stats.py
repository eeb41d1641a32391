"""`stats`: what selector and cache have seen."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from llmrouter.cli.calling import TIMEOUT_SECONDS, dialled, plain
from llmrouter.cli.output import Json, out, show_table, size_text, table, write_json
from llmrouter.cli.places import Place, cache_at, selector_at
from llmrouter.v1 import cache_pb2, cache_pb2_grpc, selector_pb2, selector_pb2_grpc

__all__ = ["stats"]


def stats(
    selector: Annotated[str | None, typer.Option(help="host:port of the selector.")] = None,
    cache: Annotated[str | None, typer.Option(help="host:port of the cache.")] = None,
    as_json: Json = False,
) -> None:
    """Show the catalog's live statistics and the levels of the cache."""
    catalog, levels = asyncio.run(
        _fetch(selector_at(selector, "--selector"), cache_at(cache, "--cache"))
    )
    if as_json:
        write_json({"selector": plain(catalog), "cache": plain(levels)})
        return
    show_table(_models(catalog))
    out().print()
    show_table(_levels(levels))


async def _fetch(
    selector: Place, cache: Place
) -> tuple[selector_pb2.ListCatalogResponse, cache_pb2.GetStatisticsResponse]:
    async with dialled(selector) as channel:
        selecting = selector_pb2_grpc.SelectorServiceStub(channel)
        catalog = await selecting.ListCatalog(
            selector_pb2.ListCatalogRequest(), timeout=TIMEOUT_SECONDS
        )
    async with dialled(cache) as channel:
        caching = cache_pb2_grpc.CacheServiceStub(channel)
        levels = await caching.GetStatistics(
            cache_pb2.GetStatisticsRequest(), timeout=TIMEOUT_SECONDS
        )
    return catalog, levels


def _models(catalog: selector_pb2.ListCatalogResponse) -> Table:
    made = table("model", "state", ">quality", ">attempts", ">failed", ">TTFT", ">tokens/s")
    for model in catalog.models:
        seen = model.statistics
        first = seen.time_to_first_token.ToTimedelta().total_seconds() * 1000
        made.add_row(
            f"[bold]{escape(model.name)}[/]",
            "[green]ready[/]" if model.addresses else "[yellow]away[/]",
            f"{model.quality:.3f}",
            f"{seen.attempts:,}",
            f"{seen.error_rate:.1%}",
            f"{first:.0f} ms" if first else "-",
            f"{seen.tokens_per_second:.0f}" if seen.tokens_per_second else "-",
        )
    return made


def _levels(statistics: cache_pb2.GetStatisticsResponse) -> Table:
    made = table(
        "cache", ">entries", ">size", ">limit", ">hits", ">misses", ">hit rate", ">evicted"
    )
    for level in statistics.levels:
        name = cache_pb2.CacheLevel.Name(level.level).removeprefix("CACHE_LEVEL_").lower()
        asked = level.hits + level.misses
        made.add_row(
            f"[bold]{name}[/]",
            f"{level.entries:,}",
            size_text(level.bytes),
            size_text(level.max_bytes),
            f"{level.hits:,}",
            f"{level.misses:,}",
            f"{level.hits / asked:.0%}" if asked else "-",
            f"{level.evictions:,}",
        )
    return made
