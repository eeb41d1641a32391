"""`models`: what the store on this machine holds, and how models get into it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from llmrouter.cli import budgeting, checking, loading, removing, verifying
from llmrouter.cli.output import (
    Json,
    err,
    facts,
    foreign,
    out,
    report_progress,
    show_table,
    table,
    write_json,
)
from llmrouter.cli.stores import StorePath, existing_store, open_store
from llmrouter.common.errors import RouterError
from llmrouter.common.sizes import size_text

if TYPE_CHECKING:
    from llmrouter.inference.models.card import ModelCard, Speed
    from llmrouter.inference.models.kinds import StoredModel
    from llmrouter.inference.models.store import ModelStore

__all__ = ["app", "bench", "import_model", "list_models", "pull", "tell_damaged"]

app = typer.Typer(
    help="Pull, import, measure, list and remove models; load and unload them where they run.",
    no_args_is_help=True,
)
for group in (checking, loading, removing, verifying):
    group.add_to(app)

_WIDE = 100
"""Columns of a terminal that has room for figures which `--json` always tells."""
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
    typer.Option(
        "--memory-budget",
        help="What the model may count for where it is served, such as 2GB or 512MiB: a service "
        "of this configuration with that much memory loads it.",
    ),
]
_CacheTokens = Annotated[
    int | None,
    typer.Option(
        "--cache-tokens",
        min=1,
        help="Tokens that running requests hold at once; what the configuration says by default.",
    ),
]


def tell_damaged(name: str, fault: str, *, on: Console, as_json: bool) -> None:
    """Say that a model is fetched again, and why."""
    if as_json:
        write_json({"event": "damaged", "name": name, "message": fault})
    else:
        on.print(f"[yellow]damaged:[/] {escape(fault)}; fetching it again", soft_wrap=True)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A known model, such as smollm2-135m-instruct.")],
    precision: _Precisions = None,
    memory_budget: _MemoryBudget = None,
    cache_tokens: _CacheTokens = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Fetch a known model and write it at each precision; one that is damaged is replaced."""
    from llmrouter.inference.importers import run

    limits = budgeting.limits(memory_budget, cache_tokens, as_json=as_json)
    with report_progress(as_json=as_json) as progress:
        told = partial(tell_damaged, on=progress.console, as_json=as_json)
        models = open_store(store)
        before = _versions(models)
        folders = run.pull(name, models, precision, progress, told, tell=progress.tell, **limits)
    _written(folders, before, as_json=as_json)


@app.command("import")
def import_model(
    source: Annotated[
        str,
        typer.Argument(
            help="A GGUF file or a folder of Hugging Face's: its path, "
            "hf://owner/name[@revision][/file], https://… or s3://bucket/key."
        ),
    ],
    name: Annotated[
        str,
        typer.Option(
            "--name", help="What the model is to be called; name@label for a version of it."
        ),
    ],
    precision: _Precisions = None,
    importer: Annotated[
        str | None,
        typer.Option(
            "--importer",
            help="gguf, huggingface, gguf-ctranslate2, huggingface-ctranslate2 or your own; found "
            "by the files unless named.",
        ),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", help="Checksum of the file; https and s3 need it."),
    ] = None,
    memory_budget: _MemoryBudget = None,
    cache_tokens: _CacheTokens = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Write a checkpoint of your own at each precision."""
    from llmrouter.inference.importers import run
    from llmrouter.inference.models.sources.named import named_source

    found = named_source(source, sha256)
    limits = budgeting.limits(memory_budget, cache_tokens, as_json=as_json)
    with report_progress(as_json=as_json) as progress:
        models = open_store(store)
        before = _versions(models)
        folders = run.import_from(
            found, name, models, precision, progress, importer, tell=progress.tell, **limits
        )
    _written(folders, before, as_json=as_json)


@app.command("list")
def list_models(store: StorePath = None, as_json: Json = False) -> None:
    """List the models of the store, what their precision cost and how fast they run here."""
    held = existing_store(store)
    folders, broken = _read_all(held)
    if as_json:
        failed = [{"name": name, "error": why} for name, why in broken.items()]
        write_json({"models": [_as_data(folder) for folder in folders] + failed})
        return
    if not folders and not broken:
        out().print("No models yet; try: llmrouter models pull smollm2-135m-instruct")
        return
    speeds = [_speed_here(folder) for folder in folders]
    verified = any(folder.card is not None and folder.card.verified for folder in folders)
    columns = ["model", "version", ">context", ">size", ">perplexity", ">loss"]
    wide = out().width >= _WIDE
    columns += [">KL"] if wide else []
    columns += [">verified"] if verified else []
    columns += [">tokens/s", ">8 at once"] if any(speeds) else []
    made = table(*columns)
    for folder, speed in zip(folders, speeds, strict=True):
        cells = [*_cells(folder), *([_divergence(folder.card)] if wide else [])]
        cells += [_verified(folder.card)] if verified else []
        cells += _speed_cells(speed) if any(speeds) else []
        # Under the folder's name, by which it is loaded; the card's may be another.
        made.add_row(f"[bold]{escape(folder.path.name)}[/]", *cells)
    show_table(made)
    for name, why in broken.items():
        err().print(f"[bold red]broken:[/] {foreign(name)}: {foreign(why)}", soft_wrap=True)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="A model of the store.")],
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML file.")] = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Measure how fast a model runs on this machine, and keep the figures in its card.

    Keep the machine quiet meanwhile. The selector starts from the figures once the model is served.
    """
    from llmrouter.inference.models import speed
    from llmrouter.suite import load_settings

    settings = load_settings(config).inference
    folder = open_store(store or settings.store).model(name)
    with report_progress(as_json=as_json) as progress:
        measured = asyncio.run(speed.measure_speed(folder.path, settings, progress))
    speed.keep_speed(folder, measured)
    if as_json:
        write_json({"event": "measured", "name": folder.path.name, **asdict(measured)})
        return
    out().print(f"[bold]{escape(folder.path.name)}[/] [dim]on {escape(measured.machine)}[/]")
    rows = {
        "load": f"{measured.load_seconds:.2f} s",
        "memory": size_text(measured.memory_bytes),
        "prompts": f"{measured.prefill_rate:.0f} tokens/s",
        "one answer": f"{measured.decode_rate:.0f} tokens/s",
        f"{measured.streams} at once": f"{measured.batch_rate:.0f} tokens/s together",
    }
    show_table(facts(rows))


def _speed_here(folder: StoredModel) -> Speed | None:
    """Return what was measured on this machine; figures of another one mean nothing here."""
    from llmrouter.inference.models.machine import describe_machine

    speed = folder.card.speed if folder.card is not None else None
    return speed if speed is not None and speed.machine == describe_machine() else None


def _speed_cells(speed: Speed | None) -> list[str]:
    return ["-", "-"] if speed is None else [f"{speed.decode_rate:.0f}", f"{speed.batch_rate:.0f}"]


def _read_all(held: ModelStore) -> tuple[Sequence[StoredModel], dict[str, str]]:
    """Return the models that can be read, and what is wrong with other folders by name."""
    from llmrouter.inference.models.strangers import strangers

    folders, broken = [], strangers(held.root)
    for name in held.names():
        try:
            folders.append(held.model(name))
        except RouterError as error:
            broken[name] = error.message
    return folders, broken


def _versions(held: ModelStore) -> dict[str, str | None]:
    return {one.path.name: _version(one) for one in _read_all(held)[0]}


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
    return [foreign(card.version[:12]), *cells, *measured]


def _divergence(card: ModelCard | None) -> str:
    """Return how far predictions are from those of the unquantised weights, in nats per token."""
    return "-" if card is None or card.quality is None else f"{card.quality.kl_divergence:.4f}"


def _verified(card: ModelCard | None) -> str:
    """Return how often an independent engine finds the same token most likely."""
    if card is None or card.verified is None:
        return "-"
    return f"{card.verified.quality.top1_agreement:.0%} {foreign(card.verified.engine)}"


def _version(folder: StoredModel) -> str | None:
    return folder.card.version if folder.card is not None else None


def _as_data(folder: StoredModel) -> dict[str, Any]:
    card = folder.card
    quality = card.quality if card is not None else None
    speed = _speed_here(folder)
    return {
        "name": folder.path.name,
        "version": _version(folder),
        "architecture": folder.architecture,
        "parameters": card.parameters if card is not None else None,
        "precision": card.precision if card is not None else None,
        "licence": card.licence if card is not None else None,
        "context": folder.context_length,
        "size_bytes": folder.size_bytes,
        "perplexity": quality.perplexity if quality is not None else None,
        "reference_perplexity": quality.reference_perplexity if quality is not None else None,
        "kl_divergence": quality.kl_divergence if quality is not None else None,
        "speed": asdict(speed) if speed is not None else None,
        "top1_agreement": quality.top1_agreement if quality is not None else None,
        "verified": verifying.as_data(card.verified) if card is not None else None,
    }


def _written(
    folders: Sequence[StoredModel], before: Mapping[str, str | None], *, as_json: bool
) -> None:
    """Tell what the store has now; `before` are the versions that it had under these names."""
    replaced = {
        folder.path.name: was
        for folder in folders
        if (was := before.get(folder.path.name)) is not None and was != _version(folder)
    }
    if as_json:
        written = {"folders": [str(folder.path) for folder in folders], "replaced": replaced}
        write_json({"event": "written", **written})
        return
    for folder in folders:
        name, place = escape(folder.path.name), escape(str(folder.path))
        was = replaced.get(folder.path.name)
        instead = f" [yellow]in place of version {foreign(was)}[/]" if was is not None else ""
        out().print(f"[green]ready[/] [bold]{name}[/]{instead} [dim]{place}[/]")
    out().print("[dim]A suite that runs takes one by `llmrouter models load NAME`.[/]")
