"""`top`: the suite as it runs, drawn anew every moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from llmrouter.cli import overview_tables as tables
from llmrouter.cli.looking import look_at
from llmrouter.cli.output import Json, out, show_table, write_json
from llmrouter.cli.places import Place, cache_at, inference_at, selector_at
from llmrouter.common.overview import Overview, Rates, rates_between

__all__ = ["top"]

_Places = tuple[Place, ...]


def top(
    selector: Annotated[str | None, typer.Option(help="host:port of the selector.")] = None,
    cache: Annotated[str | None, typer.Option(help="host:port of the cache.")] = None,
    inference: Annotated[str | None, typer.Option(help="host:port of one inference.")] = None,
    interval: Annotated[
        float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")
    ] = 1.0,
    count: Annotated[int, typer.Option(min=0, help="Looks; 0 goes on until Ctrl-C.")] = 0,
    choices: Annotated[int, typer.Option(min=0, max=100, help="Newest choices shown.")] = 8,
    as_json: Json = False,
) -> None:
    """Watch requests, engines, breakers, rollouts and choices; with --json a line per look."""
    places = (
        selector_at(selector, "--selector"),
        cache_at(cache, "--cache"),
        inference_at(inference, "--inference"),
    )
    if as_json:
        _write(places, interval, count, choices)
    elif out().is_terminal:
        _draw(places, interval, count, choices)
    else:
        _print(places, interval, count, choices)


def _write(places: _Places, interval: float, count: int, choices: int) -> None:
    for seen, rates in _looks(places, interval, count, choices):
        told = [
            {"model": name, "version": version, "tokens_per_second": round(rate, 3)}
            for (_, name, version), rate in rates.items()
        ]
        write_json({**tables.machine_data(seen), "rates": told})


def _draw(places: _Places, interval: float, count: int, choices: int) -> None:
    with Live(console=out(), auto_refresh=False, screen=not count) as live:
        for seen, rates in _looks(places, interval, count, choices):
            live.update(_shown(seen, rates), refresh=True)


def _print(places: _Places, interval: float, count: int, choices: int) -> None:
    for seen, rates in _looks(places, interval, count or 1, choices):
        show_table(_shown(seen, rates))


def _looks(
    places: _Places, interval: float, count: int, choices: int
) -> Iterator[tuple[Overview, Rates]]:
    """Yield one look after another; a `count` of 0 never ends."""
    before: Overview | None = None
    done = 0
    while not count or done < count:
        if before is not None:
            time.sleep(interval)
        seen = asyncio.run(look_at(*places, choices=choices))
        yield seen, rates_between(before, seen)
        before, done = seen, done + 1


def _away(seen: Overview) -> list[str]:
    return [seen.away[service].message for service in sorted(seen.away)]


def _shown(seen: Overview, rates: Rates) -> RenderableType:
    parts: list[RenderableType] = [Text.from_markup(tables.traffic_line(seen))]
    parts += [Text.from_markup(tables.memory_line(node)) for node in seen.nodes.values()]
    if seen.levels.levels:
        parts.append(Text.from_markup(tables.cache_line(seen)))
    parts += [Text.from_markup(f"[yellow]{escape(sentence)}[/]") for sentence in _away(seen)]
    if seen.catalog.degraded:
        parts.append(Text.from_markup(f"[yellow]{escape(seen.catalog.degraded)}[/]"))
    for made in (
        tables.models_table(seen),
        tables.engines_table(seen, rates),
        tables.breakers_table(seen),
        tables.rollouts_table(seen),
        tables.choices_table(seen),
    ):
        if made.row_count:
            parts += ["", made]
    return Group(*parts)
