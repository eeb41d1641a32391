"""`up` and one command per service: run until a signal asks to drain."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from llmrouter.cli.output import Json, err, write_json

__all__ = ["Config", "add_to"]

_SERVICES = {
    "gateway": "Run the gateway: the public API.",
    "selector": "Run the selector: catalog, scores and plans.",
    "cache": "Run the cache of answers.",
    "inference": "Run inference: loaded models and their engines.",
}
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        exists=True,
        dir_okay=False,
        help="YAML file; LLMROUTER_CONFIG by default.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands that run services."""
    app.command()(up)
    for name, text in _SERVICES.items():
        app.command(name, help=text)(_command(name))


def up(config: Config = None, as_json: Json = False) -> None:
    """Run all four services here until SIGTERM or Ctrl-C.

    Either drains: running answers are finished, new requests are refused.
    """
    from llmrouter import suite

    def ready(running: suite.RunningSuite) -> None:
        where = dataclasses.asdict(running)
        serving = where.pop("serving")
        if as_json:
            told = {"event": "ready", "service": "up", "addresses": where, "serving": serving}
            write_json(told)
        else:
            state = "[bold green]ready[/]" if serving else "[bold yellow]up, no model is ready[/]"
            err().print(f"{state} {_in_words(where)}", soft_wrap=True)

    _tell(as_json=as_json, event="starting", name="up")
    asyncio.run(suite.run_up(config, ready))
    _tell(as_json=as_json, event="stopped", name="up")


def _command(name: str) -> Callable[..., None]:
    def run(config: Config = None, as_json: Json = False) -> None:
        from llmrouter import suite

        _tell(as_json=as_json, event="starting", name=name)
        asyncio.run(suite.run_service(name, config))
        _tell(as_json=as_json, event="stopped", name=name)

    return run


def _in_words(addresses: dict[str, str]) -> str:
    told = {name: address for name, address in addresses.items() if address}
    return " · ".join(f"[dim]{name}[/] {address}" for name, address in told.items())


def _tell(*, as_json: bool, event: str, name: str) -> None:
    if as_json:
        write_json({"event": event, "service": name})
    elif event == "starting":
        err().print(f"[dim]starting[/] [bold]{name}[/] [dim](Ctrl-C drains and stops)[/]")
    else:
        err().print(f"[dim]stopped[/] [bold]{name}[/]")
