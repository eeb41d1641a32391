"""`models`: what the store on this machine holds, and how models get into it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from llmrouter.cli import loading
from llmrouter.cli.output import (
    Json,
    counted,
    err,
    out,
    report_progress,
    show_table,
    size_text,
    table,
    write_json,
)
from llmrouter.common.errors import RouterError
from llmrouter.common.settings import data_directory, load_config, parse

if TYPE_CHECKING:
    from llmrouter.inference.models.kinds import StoredModel
    from llmrouter.inference.models.store import ModelStore

__all__ = ["app", "import_model", "list_models", "open_store", "pull", "tell_damaged", "verify"]

app = typer.Typer(
    help="Pull, import, list and verify models; load and unload them where they run.",
    no_args_is_help=True,
)
loading.add_to(app)

StorePath = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of the models; by default as the settings say."),
]
_Precisions = Annotated[
    list[str] | None,
    typer.Option("--precision", help="int8, int4 or fp32; repeat it. All of them by default."),
]


def open_store(path: Path | None, config: Path | None = None) -> ModelStore:
    """Return the store at `path`, else the one that an inference service with these settings has.

    Args:
        path: What `--store` says.
        config: What `--config` says; None for LLMROUTER_CONFIG, or no file at all.

    Raises:
        ConfigError: The settings are wrong.
    """
    from llmrouter.inference.models.store import ModelStore
    from llmrouter.inference.settings import InferenceSettings

    if path is None:
        given = load_config(config)
        section = given.get("inference")
        path = parse(InferenceSettings, section, "inference", files=given.files).store
    return ModelStore(path or data_directory() / "models")


def _existing(path: Path | None) -> ModelStore:
    """Return a store to read; one that is named has to be there."""
    if path is not None and not path.is_dir():
        raise typer.BadParameter(f"{path} is not a folder", param_hint="--store")
    return open_store(path)


def tell_damaged(name: str, fault: str, *, as_json: bool) -> None:
    """Say that a model is fetched again, and why."""
    if as_json:
        write_json({"event": "damaged", "name": name, "message": fault})
    else:
        err().print(f"[yellow]damaged:[/] {escape(fault)}; fetching it again", soft_wrap=True)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A known model, such as smollm2-135m-instruct.")],
    precision: _Precisions = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Fetch a known model and write it at each precision; one that is damaged is replaced."""
    from llmrouter.inference.importers import run

    with report_progress(as_json=as_json) as progress:
        told = partial(tell_damaged, as_json=as_json)
        folders = run.pull(name, open_store(store), precision, progress, told)
    _written(folders, as_json=as_json)


@app.command("import")
def import_model(
    source: Annotated[Path, typer.Argument(exists=True, help="A GGUF file.")],
    name: Annotated[
        str,
        typer.Option(
            "--name", help="What the model is to be called; name@label for a version of it."
        ),
    ],
    precision: _Precisions = None,
    importer: Annotated[
        str | None,
        typer.Option("--importer", help="gguf (ONNX, the default), gguf-ctranslate2 or your own."),
    ] = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint of your own at each precision."""
    from llmrouter.inference.importers import run
    from llmrouter.inference.importers.architecture import PRECISIONS

    with report_progress(as_json=as_json) as progress:
        # Other importers may know fewer precisions; all know the first.
        wanted = precision or (PRECISIONS if importer is None else PRECISIONS[:1])
        folders = run.import_checkpoint(source, name, open_store(store), wanted, progress, importer)
    _written(folders, as_json=as_json)


@app.command("list")
def list_models(store: StorePath = None, as_json: Json = False) -> None:
    """List the models of the store and what their precision cost."""
    held = _existing(store)
    folders, broken = _read_all(held)
    if as_json:
        failed = [{"name": name, "error": why} for name, why in broken.items()]
        write_json({"models": [_as_data(folder) for folder in folders] + failed})
        return
    if not folders and not broken:
        out().print("No models yet; try: llmrouter models pull smollm2-135m-instruct")
        return
    made = table("model", "version", ">context", ">size", ">perplexity", ">loss")
    for folder in folders:
        # Under the folder's name, by which it is loaded; the card's may be another.
        made.add_row(f"[bold]{escape(folder.path.name)}[/]", *_cells(folder))
    show_table(made)
    for name, why in broken.items():
        err().print(f"[bold red]broken:[/] {escape(name)}: {escape(why)}", soft_wrap=True)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models of the store; all of them by default.")
    ] = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Read every byte of models and compare it with what was imported; exit 1 on damage."""
    from llmrouter.inference.models.integrity import check_contents

    held, results = _existing(store), []
    for name in names or held.names():
        try:
            path = held.model(name).path
            results.append({"name": name, "files": check_contents(path), "error": None})
        except RouterError as error:
            results.append({"name": name, "files": 0, "error": error.message})
        if not as_json:
            _tell_verified(results[-1])
    if as_json:
        write_json({"models": results})
    elif not results:
        err().print(f"[yellow]no models[/] in {escape(str(held.root))}", soft_wrap=True)
    if any(result["error"] for result in results):
        raise typer.Exit(1)


def _tell_verified(result: dict[str, Any]) -> None:
    name = f"[bold]{escape(result['name'])}[/]"
    if result["error"]:
        err().print(f"[bold red]damaged[/] {name} {escape(result['error'])}", soft_wrap=True)
    elif result["files"]:
        out().print(
            f"[green]whole[/] {name} [dim]{counted(result['files'], 'file')} as imported[/]"
        )
    else:
        out().print(f"[yellow]not known[/] {name} [dim]nothing was recorded at its import[/]")


def _read_all(held: ModelStore) -> tuple[Sequence[StoredModel], dict[str, str]]:
    """Return the folders that can be read, and what is wrong with the others by name."""
    folders, broken = [], {}
    for name in held.names():
        try:
            folders.append(held.model(name))
        except RouterError as error:
            broken[name] = error.message
    return folders, broken


def _cells(folder: StoredModel) -> list[str]:
    card = folder.card
    cells = [f"{folder.context_length:,}", size_text(folder.size_bytes)]
    if card is None:
        return ["-", *cells, "-", "-"]
    quality = card.quality
    measured = ["-", "-"]
    if quality is not None:
        loss = quality.perplexity / quality.reference_perplexity - 1
        measured = [f"{quality.perplexity:.2f}", f"{loss:+.2%}" if loss else "exact"]
    return [card.version[:12], *cells, *measured]


def _as_data(folder: StoredModel) -> dict[str, Any]:
    card = folder.card
    quality = card.quality if card is not None else None
    return {
        "name": folder.path.name,
        "version": card.version if card is not None else None,
        "precision": card.precision if card is not None else None,
        "context": folder.context_length,
        "size_bytes": folder.size_bytes,
        "perplexity": quality.perplexity if quality is not None else None,
        "reference_perplexity": quality.reference_perplexity if quality is not None else None,
        "kl_divergence": quality.kl_divergence if quality is not None else None,
    }


def _written(folders: Sequence[StoredModel], *, as_json: bool) -> None:
    if as_json:
        write_json({"event": "written", "folders": [str(folder.path) for folder in folders]})
        return
    for folder in folders:
        name, place = escape(folder.path.name), escape(str(folder.path))
        out().print(f"[green]ready[/] [bold]{name}[/] [dim]{place}[/]")
