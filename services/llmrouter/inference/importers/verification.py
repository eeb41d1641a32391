"""Proof of an import: what a folder predicts beside what an independent engine predicts.

Both read the same text, the engine from the checkpoint itself. Plain synchronous functions that
compute for a minute: call them in a process of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.inference.importers.gguf import GgufImporter
from llmrouter.inference.importers.llama_cpp import ENGINE, write_judgement
from llmrouter.inference.models.card import ModelCard, Verification, write_card
from llmrouter.inference.models.checksum import file_sha256
from llmrouter.inference.models.folder import ModelFolder
from llmrouter.inference.models.graph_check import check_graph, load_graph
from llmrouter.inference.models.graph_operators import GraphKind
from llmrouter.inference.models.progress import Progress, silent
from llmrouter.inference.models.quality import evaluation_tokens, measure_quality
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.models.text import load_text

__all__ = ["verify"]

_LEAST, _MOST = 8, 512


def verify(
    names: Sequence[str],
    checkpoint: Path,
    store: ModelStore,
    *,
    positions: int = 64,
    threads: int = 2,
    progress: Progress = silent,
) -> list[ModelFolder]:
    """Compare models with llama.cpp on the GGUF they came from, and write it into their cards.

    Args:
        names: Models of one checkpoint, in any precisions.
        checkpoint: The GGUF file.
        store: Where the models are.
        positions: Tokens of the evaluation text that are compared, 8 to 512.
        threads: With which llama.cpp computes.
        progress: Told of every stage.

    Returns:
        The models, read again.

    Raises:
        RouterError: UNKNOWN_MODEL; INVALID_ARGUMENT when a model did not come from this file;
            MODEL_UNAVAILABLE when xllamacpp is missing or refuses the file.
    """
    if not _LEAST <= positions <= _MOST:
        raise invalid("positions", f"is {positions}, must be {_LEAST} to {_MOST}")
    GgufImporter.open(checkpoint)
    digest = file_sha256(checkpoint)
    folders = [store.folder(name) for name in names]
    models = [(folder, _card_of(folder, checkpoint, digest)) for folder in folders]
    first = models[0][0]
    tokens = evaluation_tokens(first)[:positions]
    vocabulary = load_text(first).token_bytes
    with store.scratch() as scratch:
        file = scratch / "log-probabilities"
        write_judgement(checkpoint, tokens, vocabulary, file, threads, progress)
        for folder, card in models:
            quality = measure_quality(folder, tokens, file, progress)
            write_card(replace(card, verified=Verification(ENGINE, quality)), folder.path)
    return [store.folder(name) for name in names]


def _card_of(folder: ModelFolder, checkpoint: Path, digest: str) -> ModelCard:
    """Return the card of a folder that came from `checkpoint`, and whose graph is no stranger's."""
    if folder.card is None:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE, f"{folder.path} has no card that says what it came from"
        )
    if folder.card.source.sha256 != digest:
        raise invalid(
            "checkpoint",
            f"{checkpoint.name} has sha256 {digest}; {folder.path.name} came from "
            f"{folder.card.source.location} with {folder.card.source.sha256}",
        )
    check_graph(folder.model_file, load_graph(folder.model_file), GraphKind.DECODER)
    return folder.card
