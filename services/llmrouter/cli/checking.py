"""`models check`: whether models are still what was imported, every byte."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from llmrouter.cli.output import Json, counted, err, foreign, out, write_json
from llmrouter.cli.stores import StorePath, existing_store
from llmrouter.common.errors import Reason, RouterError

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Make `check` a command of `app`."""
    app.command()(check)


def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models of the store; all of them by default.")
    ] = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Compare every byte of models with what was imported; exit 1 on damage or an unknown name."""
    from llmrouter.inference.models.integrity import check_contents

    held, results = existing_store(store), []
    for name in names or held.names():
        damaged = False
        try:
            path = held.model(name).path
            results.append({"name": name, "files": check_contents(path), "error": None})
        except RouterError as error:
            results.append({"name": name, "files": 0, "error": error.message})
            damaged = error.reason is Reason.MODEL_UNAVAILABLE
        if not as_json:
            _tell(results[-1], damaged=damaged)
    if as_json:
        write_json({"models": results})
    elif not results:
        err().print(f"[yellow]no models[/] in {escape(str(held.root))}", soft_wrap=True)
    if any(result["error"] for result in results):
        raise typer.Exit(1)


def _tell(result: dict[str, Any], *, damaged: bool) -> None:
    name, error = f"[bold]{escape(result['name'])}[/]", foreign(result["error"] or "")
    if damaged:
        err().print(f"[bold red]damaged[/] {name} {error}", soft_wrap=True)
    elif error:
        err().print(f"[bold red]error:[/] {error}", soft_wrap=True)
    elif result["files"]:
        files = counted(result["files"], "file")
        out().print(f"[green]whole[/] {name} [dim]{files} as imported[/]")
    else:
        out().print(f"[yellow]not known[/] {name} [dim]nothing was recorded at its import[/]")
