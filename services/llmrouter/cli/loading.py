"""`models load|unload`: what a running inference service holds in memory."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from llmrouter.cli.calling import dialled, plain
from llmrouter.cli.output import Json, err, foreign, out, write_json
from llmrouter.cli.places import Place, inference_at
from llmrouter.v1 import inference_pb2, model_pb2
from llmrouter.v1.model_pb2_grpc import ModelServiceStub

__all__ = ["add_to"]

_MAX_SECONDS = 86_400.0
"""A load or a drain that takes longer is given up."""
_Name = Annotated[str, typer.Argument(help="A model, or a version of it: name@version.")]
_FLAG = "--inference"
_Inference = Annotated[str | None, typer.Option(_FLAG, help="host:port of the inference service.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the group `models`."""
    app.command()(load)
    app.command()(unload)


def load(
    name: _Name,
    alias: Annotated[
        list[str] | None,
        typer.Option("--alias", help="Point this alias to it once it is ready; repeat it."),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it in memory.")] = False,
    inference: _Inference = None,
    as_json: Json = False,
) -> None:
    """Load a version on a running service, and offer it to requests.

    With `--alias stable` it takes the place of the version that answers where none is named.
    """
    model, _, version = name.partition("@")
    request = model_pb2.ModelServiceLoadRequest(
        model=model, version=version, aliases=alias or (), pin=pin
    )
    asyncio.run(_load(request, inference_at(inference, _FLAG), as_json=as_json))


def unload(
    name: _Name,
    grace: Annotated[
        float | None,
        typer.Option("--grace", min=0, max=_MAX_SECONDS, help="Seconds for running answers."),
    ] = None,
    inference: _Inference = None,
    as_json: Json = False,
) -> None:
    """Unload a version once its running answers have finished; no request loads it again."""
    model, _, version = name.partition("@")
    request = model_pb2.ModelServiceUnloadRequest(model=model, version=version)
    if grace is not None:
        request.grace.CopyFrom(Duration(seconds=int(grace), nanos=int(grace % 1 * 1e9)))
    _tell(asyncio.run(_unload(request, inference_at(inference, _FLAG))), as_json=as_json)


async def _load(request: model_pb2.ModelServiceLoadRequest, place: Place, *, as_json: bool) -> None:
    async with dialled(place) as channel:
        last = None
        async for answer in ModelServiceStub(channel).Load(request, timeout=_MAX_SECONDS):
            if last is not None and (as_json or last.state != answer.model.state):
                _tell_progress(last, as_json=as_json)
            last = answer.model
    if last is not None:
        _tell(last, as_json=as_json)


async def _unload(
    request: model_pb2.ModelServiceUnloadRequest, place: Place
) -> inference_pb2.LoadedModel:
    async with dialled(place) as channel:
        answer = await ModelServiceStub(channel).Unload(request, timeout=_MAX_SECONDS)
        return answer.model


def _tell_progress(model: inference_pb2.LoadedModel, *, as_json: bool) -> None:
    if as_json:
        write_json({"event": "progress", "model": plain(model)})
    else:
        err().print(f"[dim]{_state(model)}[/] {_name(model)}")


def _tell(model: inference_pb2.LoadedModel, *, as_json: bool) -> None:
    if as_json:
        write_json({"event": _state(model), "model": plain(model)})
        return
    said = f"[green]{_state(model)}[/] [bold]{_name(model)}[/]"
    if model.version:
        said += f" [dim]version {foreign(model.version)}[/]"
    if model.aliases:
        said += f" [dim]aliases {foreign(', '.join(model.aliases))}[/]"
    out().print(said, soft_wrap=True)


def _name(model: inference_pb2.LoadedModel) -> str:
    return foreign(f"{model.name}@{model.label}" if model.label else model.name)


def _state(model: inference_pb2.LoadedModel) -> str:
    return inference_pb2.ModelState.Name(model.state).removeprefix("MODEL_STATE_").lower()
