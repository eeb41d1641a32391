"""`stats`: what selector and cache have seen."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from llmrouter.cli.calling import TIMEOUT_SECONDS, dialled, plain
from llmrouter.cli.output import Json, out, show_table, size_text, table, write_json
from llmrouter.v1 import (
    cache_pb2,
    cache_pb2_grpc,
    generation_pb2,
    selector_pb2,
    selector_pb2_grpc,
)

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None)
CacheAddress = Annotated[str, typer.Option("--cache", help="host:port of the cache.")]


@app.callback(invoke_without_command=True)
def stats(
    context: typer.Context,
    selector: Annotated[str, typer.Option(help="host:port of the selector.")] = "localhost:50052",
    cache: CacheAddress = "localhost:50053",
    as_json: Json = False,
) -> None:
    """Show the catalog's live statistics and the levels of the cache."""
    if context.invoked_subcommand is not None:
        return
    catalog, caching = asyncio.run(_both(selector, cache))
    if as_json:
        write_json({"selector": plain(catalog), "cache": plain(caching)})
        return
    show_table(_models(catalog))
    out().print()
    show_table(_levels(caching))


@app.command("cache")
def stats_cache(cache: CacheAddress = "localhost:50053", as_json: Json = False) -> None:
    """Show the levels of the cache and what they spared, by tenant and model."""
    caching = asyncio.run(_cache(cache))
    if as_json:
        write_json(plain(caching))
        return
    show_table(_levels(caching))
    out().print()
    show_table(_savings(caching))
    told = f"{caching.gateways} gateways connected, {caching.invalidations} invalidations"
    out().print(f"[dim]{told}[/]")


async def _both(
    selector: str, cache: str
) -> tuple[selector_pb2.ListCatalogResponse, cache_pb2.GetStatisticsResponse]:
    async with dialled(selector, "selector") as channel:
        selecting = selector_pb2_grpc.SelectorServiceStub(channel)
        catalog = await selecting.ListCatalog(
            selector_pb2.ListCatalogRequest(), timeout=TIMEOUT_SECONDS
        )
    return catalog, await _cache(cache)


async def _cache(address: str) -> cache_pb2.GetStatisticsResponse:
    async with dialled(address, "cache") as channel:
        caching = cache_pb2_grpc.CacheServiceStub(channel)
        return await caching.GetStatistics(
            cache_pb2.GetStatisticsRequest(), timeout=TIMEOUT_SECONDS
        )


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
        asked = level.hits + level.misses
        made.add_row(
            f"[bold]{_level(level.level)}[/]",
            f"{level.entries:,}",
            size_text(level.bytes),
            size_text(level.max_bytes),
            f"{level.hits:,}",
            f"{level.misses:,}",
            f"{level.hits / asked:.0%}" if asked else "-",
            f"{level.evictions:,}",
        )
    return made


def _savings(statistics: cache_pb2.GetStatisticsResponse) -> Table:
    made = table("tenant", "model", "found", "kind", ">hits", ">tokens saved", ">cost", ">seconds")
    for row in statistics.savings:
        kind = cache_pb2.HitKind.Name(row.kind).removeprefix("HIT_KIND_").lower()
        made.add_row(
            f"[bold]{escape(row.tenant)}[/]",
            escape(row.model),
            _level(row.level) if row.level else "in flight",
            kind,
            f"{row.hits:,}",
            f"{row.prompt_tokens + row.completion_tokens:,}",
            f"${row.cost:,.4f}",
            f"{row.time.ToTimedelta().total_seconds():,.1f}",
        )
    return made


def _level(level: generation_pb2.CacheLevel.ValueType) -> str:
    return generation_pb2.CacheLevel.Name(level).removeprefix("CACHE_LEVEL_").lower()
