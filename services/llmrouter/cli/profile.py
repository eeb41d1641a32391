"""`profile`: where a service spends its time, recorded by itself for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from llmrouter.cli.calling import dialled
from llmrouter.cli.output import Json, counted, err, out, write_json
from llmrouter.cli.places import Address, Place, gateway_at
from llmrouter.common.profile_servicer import ACCEPTED, PROFILE_SERVICE
from llmrouter.common.settings import SERVICES, ConfigError, given_api_key
from llmrouter.common.wire import duration
from llmrouter.v1 import profile_pb2 as pb

__all__ = ["profile"]

_MARGIN_SECONDS = 20.0
_OPEN = {
    "stacks": "https://www.speedscope.app opens it",
    "steps": "https://ui.perfetto.dev or chrome://tracing opens it",
}


def profile(
    service: Annotated[
        str,
        typer.Argument(
            help="gateway, selector, cache, inference, or the host:port of one inference service."
        ),
    ] = "gateway",
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How long to record.")] = 5.0,
    rate: Annotated[int, typer.Option(min=1, max=250, help="Samples a second.")] = 100,
    folder: Annotated[Path, typer.Option("--out", help="Folder to write into.")] = Path(),
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Record Python's threads and the engines' steps; the key needs the scope admin.

    An engine that generates nothing meanwhile takes no steps.
    """
    if service not in SERVICES and ":" not in service:
        known = f"{', '.join(SERVICES)}, or the host:port of one inference service"
        raise typer.BadParameter(f"is {service!r}; it must be {known}", param_hint="SERVICE")
    gateway = gateway_at(address)

    def begun() -> None:
        if not as_json:
            err().print(f"[dim]recording {escape(service)} for {seconds:g} s[/]")

    told = asyncio.run(_record(gateway, service, seconds, rate, begun))
    name = "".join(one if one.isalnum() or one in ".-" else "_" for one in service)
    files = {"stacks": _write(folder / f"{name}.speedscope.json", told.stacks)}
    if told.steps:
        files["steps"] = _write(folder / f"{name}.steps.json", told.steps)
    if as_json:
        paths = {kind: str(path) for kind, path in files.items()}
        counts = {"samples": told.samples, "steps": told.recorded_steps}
        write_json({"service": told.service, **counts, "truncated": told.truncated, "files": paths})
        return
    steps = f", {counted(told.recorded_steps, 'step')}" if told.steps else ""
    out().print(f"[bold]{escape(told.service)}[/] {counted(told.samples, 'sample')}{steps}")
    for kind, path in files.items():
        out().print(f"{escape(str(path))} [dim]{_OPEN[kind]}[/]", soft_wrap=True)
    if told.service == "inference" and not told.steps:
        why = "no engine generated anything meanwhile, so there are no steps to write"
        err().print(f"[yellow]{why}[/]; ask something while it records", soft_wrap=True)
    if told.truncated:
        err().print("[yellow]it was more than fits: the rarest were left out[/]")


async def _record(
    gateway: Place, service: str, seconds: float, rate: int, begun: Callable[[], None]
) -> pb.ProfileResponse:
    key = given_api_key()
    metadata = None if key is None else (("authorization", f"Bearer {key}"),)
    request = pb.ProfileRequest(
        duration=duration(seconds), samples_per_second=rate, service=service
    )
    async with dialled(gateway) as channel:
        # As a stream of one: of a unary call gRPC tells its metadata with the answer only.
        ask = channel.unary_stream(
            f"/{PROFILE_SERVICE}/Profile",
            request_serializer=pb.ProfileRequest.SerializeToString,
            response_deserializer=pb.ProfileResponse.FromString,
        )
        call = ask(request, timeout=seconds + _MARGIN_SECONDS, metadata=metadata)
        if ACCEPTED in tuple(await call.initial_metadata()):
            begun()
        answer: pb.ProfileResponse = await anext(aiter(call))
        return answer


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    return path
