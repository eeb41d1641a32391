"""`stats`: what selector and cache have seen."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from llmrouter.cli.breakers import STATES
from llmrouter.cli.calling import TIMEOUT_SECONDS, dialled, plain
from llmrouter.cli.costs import add_to as add_costs
from llmrouter.cli.looking import look_at
from llmrouter.cli.output import (
    Json,
    counted,
    err,
    milliseconds,
    out,
    show_table,
    table,
    write_json,
)
from llmrouter.cli.overview_tables import (
    breakers_table,
    choices_table,
    machine_data,
    model_state,
    rollouts_table,
)
from llmrouter.cli.places import Place, cache_at, selector_at
from llmrouter.common.money import dollars
from llmrouter.common.sizes import size_text
from llmrouter.common.wire import seconds
from llmrouter.v1 import cache_pb2, cache_pb2_grpc, generation_pb2, selector_pb2

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None)
add_costs(app)
_FAR = frozenset({generation_pb2.CACHE_LEVEL_DISK, generation_pb2.CACHE_LEVEL_SHARED})
_WAYS = "behind memory an answer has two entries: itself, and the way from its question to it"
CacheAddress = Annotated[str | None, typer.Option("--cache", help="host:port of the cache.")]


@app.callback(invoke_without_command=True)
def stats(
    context: typer.Context,
    selector: Annotated[str | None, typer.Option(help="host:port of the selector.")] = None,
    cache: CacheAddress = None,
    choices: Annotated[int, typer.Option(min=0, max=100, help="Newest choices shown.")] = 5,
    as_json: Json = False,
) -> None:
    """Show live statistics, what fails, the newest choices and why, and the levels of the cache."""
    if context.invoked_subcommand is not None:
        return
    places = selector_at(selector, "--selector"), cache_at(cache, "--cache")
    seen = asyncio.run(look_at(*places, choices=choices))
    for service in ("selector", "cache"):
        if service in seen.away:
            raise seen.away[service]
    if as_json:
        write_json(machine_data(seen))
        return
    show_table(_models(seen.catalog))
    if seen.catalog.degraded:
        err().print(f"[yellow]{escape(seen.catalog.degraded)}[/]")
    for more in (
        _endpoints(seen.catalog),
        _costs(seen.costs),
        breakers_table(seen),
        rollouts_table(seen),
        choices_table(seen),
        _levels(seen.levels),
    ):
        if more.row_count:
            out().print()
            show_table(more)


@app.command("cache")
def stats_cache(cache: CacheAddress = None, as_json: Json = False) -> None:
    """Show the levels of the cache and what they spared, by tenant and model."""
    caching = asyncio.run(_cache(cache_at(cache, "--cache")))
    if as_json:
        write_json(plain(caching))
        return
    show_table(_levels(caching))
    if any(one.level in _FAR and one.entries for one in caching.levels):
        out().print(f"[dim]{_WAYS}[/]")
    out().print()
    show_table(_savings(caching))
    told = (
        f"{counted(caching.gateways, 'gateway')} connected, "
        f"{counted(caching.invalidations, 'invalidation')}"
    )
    out().print(f"[dim]{told}[/]")


async def _cache(cache: Place) -> cache_pb2.GetStatisticsResponse:
    async with dialled(cache) as channel:
        caching = cache_pb2_grpc.CacheServiceStub(channel)
        return await caching.GetStatistics(
            cache_pb2.GetStatisticsRequest(), timeout=TIMEOUT_SECONDS
        )


def _models(catalog: selector_pb2.ListCatalogResponse) -> Table:
    made = table(
        "model", "state", ">quality", ">attempts", ">failed", ">TTFT", ">p95", ">tokens/s", ">cost"
    )
    names = Counter(model.name for model in catalog.models)
    for model in catalog.models:
        seen = model.statistics
        version = f" [dim]@ {escape(model.version)}[/]" if names[model.name] > 1 else ""
        made.add_row(
            f"[bold]{escape(model.name)}[/]{version}",
            model_state(model),
            f"{model.quality:.3f}",
            f"{seen.attempts:,}",
            f"{seen.error_rate:.1%}",
            milliseconds(seconds(seen.time_to_first_token)),
            milliseconds(seconds(seen.first_token.p95)),
            f"{seen.tokens_per_second:.0f}" if seen.tokens_per_second else "-",
            dollars(seen.cost) if seen.cost else "-",
        )
    return made


def _endpoints(catalog: selector_pb2.ListCatalogResponse) -> Table:
    """Return the endpoints that were asked: how sure their figures are, and what waits there."""
    made = table("endpoint", "at", "breaker", ">load", ">last minute", ">TTFT", ">±", ">evidence")
    for model in catalog.models:
        for one in model.endpoints:
            first = one.statistics.first_token
            if not one.statistics.attempts:
                continue
            made.add_row(
                f"{escape(model.name)} [dim]@ {escape(model.version)}[/]",
                escape(one.address),
                "[yellow]draining[/]" if one.draining else STATES[one.breaker],
                f"{one.load:.2f}",
                f"{one.statistics.recent.attempts:,}",
                milliseconds(seconds(first.mean)),
                milliseconds(seconds(first.mean_error)),
                f"{first.evidence:.1f}",
            )
    return made


def _costs(costs: selector_pb2.ListCostsResponse) -> Table:
    made = table("account", ">plans", ">estimated", ">spent", ">prompt tokens", ">generated")
    for one in costs.costs:
        if one.kind != "model":
            made.add_row(
                f"{escape(one.kind)} [bold]{escape(one.name)}[/]",
                f"{one.plans:,}",
                dollars(one.estimated),
                dollars(one.actual),
                f"{one.prompt_tokens:,}",
                f"{one.completion_tokens:,}",
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
            dollars(row.cost),
            f"{seconds(row.time):,.1f}",
        )
    return made


def _level(level: generation_pb2.CacheLevel.ValueType) -> str:
    return generation_pb2.CacheLevel.Name(level).removeprefix("CACHE_LEVEL_").lower()
