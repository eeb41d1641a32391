"""`models verify`: what an independent engine says of imported models."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from llmrouter.cli.output import Json, foreign, report_progress, show_table, table, write_json
from llmrouter.cli.stores import StorePath, existing_store
from llmrouter.common.errors import Reason, RouterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmrouter.inference.models.card import Verification
    from llmrouter.inference.models.folder import ModelFolder

__all__ = ["add_to", "as_data", "verify"]


def add_to(app: typer.Typer) -> None:
    """Make `verify` a command of `app`."""
    app.command("verify")(verify)


def verify(
    name: Annotated[
        str, typer.Argument(help="A model, or a name without precision for all that are here.")
    ],
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="The GGUF it came from; the catalog's is fetched."),
    ] = None,
    positions: Annotated[
        int, typer.Option("--positions", help="Tokens that are compared, 8 to 512.")
    ] = 64,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Compare models with llama.cpp on the file they came from (needs xllamacpp)."""
    from llmrouter.inference.importers import run, verification
    from llmrouter.inference.importers.architecture import PRECISIONS
    from llmrouter.inference.models import catalog
    from llmrouter.inference.models.integrity import check_contents
    from llmrouter.inference.models.versions import with_precision

    held = existing_store(store)
    meant = {name, *(with_precision(name, one) for one in PRECISIONS)}
    names = [one for one in held.names() if one in meant]
    if not names:
        there = ", ".join(held.names()) or "none"
        raise RouterError(Reason.UNKNOWN_MODEL, f"{name} is not in {held.root}; there are: {there}")
    if checkpoint is None and not catalog.has_entry(name):
        raise RouterError(
            Reason.UNKNOWN_MODEL,
            f"{name} did not come from the catalog; give --checkpoint with the GGUF that it was "
            "imported from",
        )
    for one in names:
        check_contents(held.model(one).path)
    with report_progress(as_json=as_json) as progress:
        source: AbstractContextManager[Path] = (
            run.catalog_checkpoint(name, held, progress)
            if checkpoint is None
            else nullcontext(checkpoint)
        )
        with source as file:
            models = verification.verify(names, file, held, positions=positions, progress=progress)
    _show(models, as_json=as_json)


def as_data(verified: Verification | None) -> dict[str, Any] | None:
    """Return a verification for machines."""
    if verified is None:
        return None
    quality = verified.quality
    return {
        "engine": verified.engine,
        "perplexity": quality.perplexity,
        "engine_perplexity": quality.reference_perplexity,
        "kl_divergence": quality.kl_divergence,
        "top1_agreement": quality.top1_agreement,
        "tokens": quality.tokens,
    }


def _show(models: Sequence[ModelFolder], *, as_json: bool) -> None:
    found = [
        (model.path.name, model.card.verified)
        for model in models
        if model.card is not None and model.card.verified is not None
    ]
    if as_json:
        write_json({"models": [{"name": name} | (as_data(one) or {}) for name, one in found]})
        return
    made = table("model", ">perplexity", ">engine's", ">KL", ">same token", ">tokens", "engine")
    for name, one in found:
        quality = one.quality
        made.add_row(
            f"[bold]{escape(name)}[/]",
            f"{quality.perplexity:.3f}",
            f"{quality.reference_perplexity:.3f}",
            f"{quality.kl_divergence:.4f}",
            f"{quality.top1_agreement:.1%}",
            str(quality.tokens),
            foreign(one.engine),
        )
    show_table(made)
