"""`invalidate`: make cached answers unusable."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from llmrouter.cli.calling import TIMEOUT_SECONDS, dialled
from llmrouter.cli.output import Json, out, write_json
from llmrouter.cli.places import Place, cache_at
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1 import generation_pb2
from llmrouter.v1.cache_pb2_grpc import CacheServiceStub

__all__ = ["invalidate"]


def invalidate(
    *,
    key: Annotated[str | None, typer.Option(help="The answer of this key, 64 hex digits.")] = None,
    tag: Annotated[str | None, typer.Option(help="Answers kept with this tag.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Answers of a model or `name@version`, of every tenant.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the tenant's answers.")] = False,
    tenant: Annotated[str, typer.Option(help="Whose answers.")] = "default",
    cache: Annotated[str | None, typer.Option(help="host:port of the cache.")] = None,
    as_json: Json = False,
) -> None:
    """Make cached answers unusable, at every level and gateway within a second."""
    given = [name for name in (key, tag, model) if name is not None]
    if len(given) + everything != 1:
        raise typer.BadParameter("give one of --key, --tag, --model and --all")
    request = pb.InvalidateRequest(
        context=generation_pb2.RequestContext(request_id="cli", tenant=tenant)
    )
    if key is not None:
        request.key = _key(key)
    elif tag is not None:
        request.tag = tag
    elif model is not None:
        request.model.CopyFrom(_model(model))
    else:
        request.tenant = True
    response = asyncio.run(_invalidate(cache_at(cache, "--cache"), request))
    if as_json:
        write_json({"event": "invalidated", "sequence": response.sequence})
    else:
        out().print("Such answers as were kept, if there were any, are served no more.")


async def _invalidate(place: Place, request: pb.InvalidateRequest) -> pb.InvalidateResponse:
    async with dialled(place) as channel:
        return await CacheServiceStub(channel).Invalidate(request, timeout=TIMEOUT_SECONDS)


def _key(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise typer.BadParameter("is not hexadecimal", param_hint="--key") from None


def _model(text: str) -> pb.ModelAnswers:
    model, _, version = text.partition("@")
    return pb.ModelAnswers(model=model, version=version)
