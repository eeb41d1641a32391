"""`models`: what the store on this machine holds, and how models get into it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from llmrouter.cli import budgeting, verifying
from llmrouter.cli.output import (
    Json,
    err,
    out,
    report_progress,
    show_table,
    size_text,
    table,
    write_json,
)
from llmrouter.common.errors import RouterError
from llmrouter.common.settings import data_directory

if TYPE_CHECKING:
    from llmrouter.inference.models.card import ModelCard
    from llmrouter.inference.models.kinds import StoredModel
    from llmrouter.inference.models.store import ModelStore

__all__ = ["app", "import_model", "list_models", "open_store", "pull"]

app = typer.Typer(help="Pull, import and list the models of this machine.", no_args_is_help=True)

verifying.add_to(app)

StorePath = Annotated[Path | None, typer.Option("--store", help="Folder that holds the models.")]
_Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        help="int8, int4, fp32, or auto: the highest that fits --memory-budget; repeat it. All of "
        "them by default.",
    ),
]
_MemoryBudget = Annotated[
    str | None,
    typer.Option("--memory-budget", help="What the loaded model may take, such as 2GB or 512MiB."),
]
_CacheTokens = Annotated[
    int | None,
    typer.Option(
        "--cache-tokens", min=1, help="Tokens held at once; one whole context by default."
    ),
]


def open_store(path: Path | None) -> ModelStore:
    """Return the store at `path`, or the one every command uses by default."""
    from llmrouter.inference.models.store import ModelStore

    return ModelStore(path or data_directory() / "models")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A known model, such as smollm2-135m-instruct.")],
    precision: _Precisions = None,
    memory_budget: _MemoryBudget = None,
    cache_tokens: _CacheTokens = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Fetch a known model and write it at each precision."""
    from llmrouter.inference.importers import run

    limits = budgeting.limits(memory_budget, cache_tokens, as_json=as_json)
    with report_progress(as_json=as_json) as progress:
        folders = run.pull(name, open_store(store), precision, progress, **limits)
    _written(folders, as_json=as_json)


@app.command("import")
def import_model(
    source: Annotated[Path, typer.Argument(help="A GGUF file, or a folder of Hugging Face's.")],
    name: Annotated[str, typer.Option("--name", help="What the model is to be called.")],
    precision: _Precisions = None,
    importer: Annotated[
        str | None,
        typer.Option(
            "--importer",
            help="gguf, huggingface, gguf-ctranslate2 or your own; found by"
            " the files unless named.",
        ),
    ] = None,
    memory_budget: _MemoryBudget = None,
    cache_tokens: _CacheTokens = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint of your own at each precision."""
    from llmrouter.inference.importers import run

    limits = budgeting.limits(memory_budget, cache_tokens, as_json=as_json)
    with report_progress(as_json=as_json) as progress:
        models = open_store(store)
        folders = run.import_checkpoint(
            source, name, models, precision, progress, importer, **limits
        )
    _written(folders, as_json=as_json)


@app.command("list")
def list_models(store: StorePath = None, as_json: Json = False) -> None:
    """List the models of the store and what their precision cost."""
    held = open_store(store)
    if store is not None and not store.is_dir():
        raise typer.BadParameter(f"{store} is not a folder", param_hint="--store")
    folders, broken = _read_all(held)
    if as_json:
        failed = [{"name": name, "error": why} for name, why in broken.items()]
        write_json({"models": [_as_data(folder) for folder in folders] + failed})
        return
    if not folders and not broken:
        out().print("No models yet; try: llmrouter models pull smollm2-135m-instruct")
        return
    headings = ["model", "version", ">context", ">size", ">perplexity", ">loss"]
    asked = any(folder.card is not None and folder.card.verified for folder in folders)
    made = table(*headings, *([">verified"] if asked else []))
    for folder in folders:
        cells = [*_cells(folder), *([_verified(folder.card)] if asked else [])]
        # Under the folder's name, by which it is loaded; the card's may be another.
        made.add_row(f"[bold]{escape(folder.path.name)}[/]", *cells)
    show_table(made)
    for name, why in broken.items():
        err().print(f"[bold red]broken:[/] {escape(name)}: {escape(why)}", soft_wrap=True)


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


def _verified(card: ModelCard | None) -> str:
    """Return how often an independent engine finds the same token most likely."""
    if card is None or card.verified is None:
        return "-"
    return f"{card.verified.quality.top1_agreement:.0%} {card.verified.engine}"


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
        "top1_agreement": quality.top1_agreement if quality is not None else None,
        "verified": verifying.as_data(card.verified) if card is not None else None,
    }


def _written(folders: Sequence[StoredModel], *, as_json: bool) -> None:
    if as_json:
        write_json({"event": "written", "folders": [str(folder.path) for folder in folders]})
        return
    for folder in folders:
        name, place = escape(folder.path.name), escape(str(folder.path))
        out().print(f"[green]ready[/] [bold]{name}[/] [dim]{place}[/]")
