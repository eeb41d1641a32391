"""`health`: whether a service answers, for containers and scripts."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

import typer
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.markup import escape

from llmrouter.cli.calling import dialled
from llmrouter.cli.output import Json, note_timeout, out, write_json
from llmrouter.cli.places import Place, cache_at, gateway_at, inference_at, selector_at
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.server import LIVENESS

__all__ = ["health", "health_of"]

_FLAG = "--address"
_Service = Annotated[
    Literal["gateway", "selector", "cache", "inference"],
    typer.Argument(help="Which service to ask."),
]


def health(
    service: _Service = "gateway",
    live: Annotated[
        bool, typer.Option("--live", help="Ask only whether it answers, ready or not.")
    ] = False,
    address: Annotated[str | None, typer.Option(_FLAG, help="host:port of the service.")] = None,
    timeout: Annotated[
        float,
        typer.Option(min=0.001, help="Seconds to wait at most.", callback=note_timeout),
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Ask a service whether it is ready: exit 0 when it is, 1 when not."""
    place = _place(service, address)
    status = asyncio.run(health_of(place, LIVENESS if live else "", timeout))
    if as_json:
        write_json({"service": service, "address": place.address, "status": status})
    if status != "SERVING":
        if as_json:
            raise typer.Exit(1)
        sentence = f"the {service} at {place.address} is not ready"
        raise RouterError(Reason.UPSTREAM_UNAVAILABLE, sentence)
    if not as_json:
        told = "live" if live else "ready"
        out().print(f"[green]{told}[/] [bold]{service}[/] [dim]{escape(place.address)}[/]")


def _place(service: str, address: str | None) -> Place:
    if service == "gateway":
        return gateway_at(address)
    at = {"selector": selector_at, "cache": cache_at, "inference": inference_at}[service]
    return at(address, _FLAG)


async def health_of(place: Place, name: str, timeout: float) -> str:  # noqa: ASYNC109 - gRPC's
    """Return the name of the status of a service, or of a part of it, NOT_FOUND where it has none.

    Raises:
        RouterError: It does not answer within `timeout` seconds.
    """
    async with dialled(place) as channel:
        request = health_pb2.HealthCheckRequest(service=name)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except aio.AioRpcError as error:
            if error.code() == StatusCode.NOT_FOUND:
                return "NOT_FOUND"
            raise
    status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return status
