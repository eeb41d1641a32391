"""A checkpoint of a decoder becomes a model folder, whatever its format."""

from __future__ import annotations

from pathlib import Path

from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.decoder import DecoderCheckpoint
from llmrouter.inference.importers.genai_config import write_genai_config
from llmrouter.inference.importers.graph import write_graph
from llmrouter.inference.importers.journal import Journal
from llmrouter.inference.models.progress import Progress

__all__ = ["convert_decoder"]


def convert_decoder(
    checkpoint: DecoderCheckpoint,
    target: Path,
    precision: str,
    progress: Progress,
    journal: Journal | None,
) -> Converted:
    """Write a complete model folder, or what is missing of it, as `Resumable.resume` says.

    Raises:
        RouterError, OSError: As `Checkpoint.convert`.
    """
    checkpoint.write_texts(target)
    write_genai_config(target, checkpoint.model)
    parameters = write_graph(
        target, checkpoint.model, checkpoint.tensors, precision,
        lambda done, total: progress(f"convert to {precision}", done, total), journal,
    )  # fmt: skip
    return Converted(parameters, checkpoint.licence)
