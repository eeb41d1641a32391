"""`breakers`: endpoints that failed again and again, and are left alone."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.markup import escape

from llmrouter.cli.calling import TIMEOUT_SECONDS, dialled, plain
from llmrouter.cli.output import Json, out, show_table, table, write_json
from llmrouter.cli.places import Place, selector_at
from llmrouter.common.wire import seconds
from llmrouter.v1 import selector_pb2, selector_pb2_grpc

__all__ = ["STATES", "app"]

STATES = {
    selector_pb2.BREAKER_STATE_CLOSED: "[green]closed[/]",
    selector_pb2.BREAKER_STATE_OPEN: "[red]open[/]",
    selector_pb2.BREAKER_STATE_HALF_OPEN: "[yellow]half-open[/]",
}
"""Each state for people."""

app = typer.Typer(help="See and close circuit breakers.", no_args_is_help=True)

Selector = Annotated[str | None, typer.Option("--selector", help="host:port of the selector.")]


@app.command("list")
def list_breakers(selector: Selector = None, as_json: Json = False) -> None:
    """Show the endpoints that failed lately."""
    answer = asyncio.run(_list(selector_at(selector, "--selector")))
    if as_json:
        write_json(plain(answer))
        return
    if not answer.breakers:
        out().print("no endpoint failed lately")
        return
    made = table("model", "address", "breaker", ">in a row", ">probes in", "last error")
    for one in answer.breakers:
        left = seconds(one.retry_in)
        made.add_row(
            f"[bold]{escape(one.model)}[/] [dim]@ {escape(one.version)}[/]",
            escape(one.address),
            STATES[one.state],
            str(one.failures),
            f"{left:.0f} s" if left else "-",
            escape(one.last_error),
        )
    show_table(made)


@app.command()
def reset(
    model: Annotated[str, typer.Option(help="Only of this model.")] = "",
    address: Annotated[str, typer.Option(help="Only at this host:port.")] = "",
    selector: Selector = None,
    as_json: Json = False,
) -> None:
    """Close circuit breakers by hand."""
    answer = asyncio.run(_reset(selector_at(selector, "--selector"), model, address))
    if as_json:
        write_json(plain(answer))
    else:
        out().print(f"{answer.closed} closed")


async def _list(selector: Place) -> selector_pb2.ListBreakersResponse:
    async with dialled(selector) as channel:
        stub = selector_pb2_grpc.SelectorServiceStub(channel)
        request = selector_pb2.ListBreakersRequest()
        return await stub.ListBreakers(request, timeout=TIMEOUT_SECONDS)


async def _reset(selector: Place, model: str, address: str) -> selector_pb2.ResetBreakersResponse:
    async with dialled(selector) as channel:
        stub = selector_pb2_grpc.SelectorServiceStub(channel)
        request = selector_pb2.ResetBreakersRequest(model=model, address=address)
        return await stub.ResetBreakers(request, timeout=TIMEOUT_SECONDS)
