"""`decisions`: what the selector chose, and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from llmrouter.cli.calling import TIMEOUT_SECONDS, dialled
from llmrouter.cli.output import Json, counted, err, show_table, table, write_json
from llmrouter.cli.places import Place, selector_at
from llmrouter.cli.select import chosen, explained
from llmrouter.cli.writing import whole_file
from llmrouter.common.settings import ConfigError
from llmrouter.v1 import selector_pb2, selector_pb2_grpc

__all__ = ["app"]

_EXPORT_SECONDS = 600.0

app = typer.Typer(help="See what the selector chose, and why.", no_args_is_help=True)

Selector = Annotated[str | None, typer.Option("--address", help="host:port of the selector.")]


@app.command()
def explain(
    plan: Annotated[str, typer.Argument(help="Id of the plan, as an answer's route shows it.")],
    address: Selector = None,
    as_json: Json = False,
) -> None:
    """Make a past choice again from its record."""
    answer = asyncio.run(_explain(selector_at(address, "--address"), plan))
    if as_json:
        typer.echo(answer.record)
        return
    show_table(chosen(answer.plan))
    show_table(explained(answer.plan))


@app.command()
def export(
    limit: Annotated[int, typer.Option(min=0, help="The newest so many; 0 is all.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output else.")] = None,
    address: Selector = None,
) -> None:
    """Write past choices as JSON, one per line, oldest first. They hold no text."""
    selector = selector_at(address, "--address")
    if out is None:
        asyncio.run(_export(selector, limit, None))
        return
    with whole_file(out) as file:
        count = asyncio.run(_export(selector, limit, file.write))
    err().print(f"{counted(count, 'choice')} written to {out}", markup=False)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="What `decisions export` wrote.")],
    as_json: Json = False,
) -> None:
    """Make exported choices again, without a selector; fails where one comes out otherwise.

    Each is made by the policy of this program from its record alone: catalog, live numbers, wishes
    and draws.
    """
    from llmrouter.selector.replaying import replayed
    from llmrouter.selector.strategies import load_strategies

    count, otherwise = 0, []
    try:
        with file.open(encoding="utf-8") as lines:
            for one in replayed(lines, load_strategies()):
                count += 1
                if not one.exact:
                    otherwise.append(one)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigError(f"{file} cannot be read: {why}") from None
    if as_json:
        told = [one._asdict() for one in otherwise]
        write_json({"choices": count, "otherwise": told})
    elif otherwise:
        differing = [(one.plan_id, ", ".join(one.differs)) for one in otherwise if not one.error]
        _show_each("comes out otherwise", differing)
        broken = [(one.plan_id, one.error) for one in otherwise if one.error]
        _show_each("cannot be made again", broken)
    else:
        err().print(f"{counted(count, 'choice')} made again, exactly as recorded", markup=False)
    if otherwise:
        raise typer.Exit(1)


def _show_each(heading: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        shown = table("plan", heading)
        for plan, why in rows:
            shown.add_row(escape(plan), escape(why))
        show_table(shown)


async def _explain(selector: Place, plan: str) -> selector_pb2.ExplainResponse:
    async with dialled(selector) as channel:
        stub = selector_pb2_grpc.SelectorServiceStub(channel)
        request = selector_pb2.ExplainRequest(plan_id=plan)
        return await stub.Explain(request, timeout=TIMEOUT_SECONDS)


async def _export(selector: Place, limit: int, write: Callable[[str], object] | None) -> int:
    count = 0
    async for record in _records(selector, limit):
        count += 1
        if write is None:
            typer.echo(record)
        else:
            write(record + "\n")
    return count


async def _records(selector: Place, limit: int) -> AsyncIterator[str]:
    async with dialled(selector) as channel:
        stub = selector_pb2_grpc.SelectorServiceStub(channel)
        request = selector_pb2.ExportDecisionsRequest(limit=limit)
        async for answer in stub.ExportDecisions(request, timeout=_EXPORT_SECONDS):
            yield answer.record
