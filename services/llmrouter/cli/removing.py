"""`models remove`: a model leaves the store on this machine, and who serves it still is told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from llmrouter.cli.calling import dialled
from llmrouter.cli.output import Json, foreign, out, write_json
from llmrouter.cli.places import Place, inference_at
from llmrouter.cli.stores import StorePath, existing_store
from llmrouter.common.errors import RouterError
from llmrouter.v1 import inference_pb2, model_pb2
from llmrouter.v1.model_pb2_grpc import ModelServiceStub

if TYPE_CHECKING:
    from llmrouter.inference.models.store import ModelStore
    from llmrouter.inference.models.versions import VersionKey

__all__ = ["add_to"]

_FLAG = "--inference"
_LOOK_SECONDS = 5.0
"""How long a service may take to say what it holds."""
_ELSEWHERE = (inference_pb2.MODEL_STATE_UNLOADED, inference_pb2.MODEL_STATE_FAILED)


def add_to(app: typer.Typer) -> None:
    """Make `remove` a command of `app`."""
    app.command()(remove)


def remove(
    name: Annotated[
        str, typer.Argument(help="A model of the store as `models list` names it: name[@label].")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    store: StorePath = None,
    inference: Annotated[
        str | None,
        typer.Option(_FLAG, help="host:port of the service that is asked whether it serves it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete a model from the store; one that is loaded is served until it is unloaded."""
    from llmrouter.inference.models.alias_file import AliasFile
    from llmrouter.inference.models.versions import parse_key

    held, key, place = existing_store(store), parse_key(name), inference_at(inference, _FLAG)
    path = held.existing(name)
    version, moved = _version(held, name), AliasFile(held.root).read().get(key.name, {})
    if not yes:
        _ask(f"Delete {path}?", as_json=as_json)
    held.remove(name)
    aliases = sorted(alias for alias, label in moved.items() if label == key.label)
    try:
        serves = asyncio.run(_serves(place, key, version))
    except RouterError:
        serves = None
    if as_json:
        told = {"event": "removed", "name": name, "aliases": aliases, "served": serves}
        write_json(told)
        return
    out().print(f"[green]removed[/] [bold]{escape(name)}[/]")
    _tell_aliases(key, aliases)
    _tell_served(place, f"{key.name}@{key.label or version}", serves=serves)


def _ask(question: str, *, as_json: bool) -> None:
    """End the command unless somebody says yes."""
    if as_json or not _asks():
        raise typer.BadParameter("is needed where nobody can be asked", param_hint="--yes")
    typer.confirm(question, abort=True, err=True)


def _asks() -> bool:
    return sys.stdin.isatty()


def _version(held: ModelStore, name: str) -> str:
    """Return the fingerprint of a model; empty where it has none, or nothing can be read of it."""
    try:
        card = held.model(name).card
    except RouterError:
        return ""
    return card.version if card is not None else ""


async def _serves(place: Place, key: VersionKey, version: str) -> bool:
    """Whether a service has the model in memory; asked, it forgets those that it has not."""
    async with dialled(place) as channel:
        request = model_pb2.ModelServiceListRequest()
        answer = await ModelServiceStub(channel).List(request, timeout=_LOOK_SECONDS)
    return any(
        (one.name, one.label) == (key.name, key.label)
        and version in ("", one.version)
        and one.state not in _ELSEWHERE
        for one in answer.models
    )


def _tell_aliases(key: VersionKey, aliases: Sequence[str]) -> None:
    for alias in map(foreign, aliases):
        out().print(
            f"[yellow]alias {alias}[/] pointed to it; point it to another version by "
            f"`llmrouter models load {key.name}@LABEL --alias {alias}`",
            soft_wrap=True,
        )


def _tell_served(place: Place, meant: str, *, serves: bool | None) -> None:
    until = f"until `llmrouter models unload {foreign(meant).rstrip('@')}`"
    if serves:
        out().print(f"[yellow]{place.address} serves it[/] {until}", soft_wrap=True)
    elif serves is None:
        said = f"no service answers at {place.address}; one that has loaded it serves it {until}"
        out().print(f"[dim]{said}[/]", soft_wrap=True)
