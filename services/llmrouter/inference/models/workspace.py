"""How much memory a model may compute with beside its weights, keys and values.

ONNX Runtime is refused more than that (native/src/ort/memory_budget.h), so that no graph of a
stranger takes more than its model counts for, whatever it makes of what it is fed.
"""

from __future__ import annotations

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.models.embedding_folder import EmbeddingFolder
from llmrouter.inference.models.shape import DecoderShape

__all__ = ["ENCODED_POSITIONS", "decoder_workspace", "encoder_workspace"]

ENCODED_POSITIONS = 4096
"""Texts times the longest that an encoder computes at once; one text may be longer."""

_FLOAT = 4
_WIDTHS = 24
"""Values held at once for a position, in widths of the model: layers' inner ones, and copies."""
_SCORES = 3
"""Copies of an encoder's attention held at once: scores, those with a mask, probabilities."""
_FIXED = 64 << 20
"""What kernels lay out whatever is computed, and small weights that graphs hold themselves."""


def decoder_workspace(shape: DecoderShape, options: BackendOptions, context: int) -> int:
    """Return the bytes for a step that computes as many tokens as one may.

    Graphs of others may give the logits of every token, and leave attention to ONNX Runtime.

    Args:
        shape: Of the model.
        options: How it is run; a workspace that is set there is taken.
        context: Tokens that one sequence may hold.
    """
    if options.workspace_bytes:
        return options.workspace_bytes
    # As many as are computed at once where they cut a prompt into equal parts (step_plan.cc).
    chunk = options.prefill_chunk * 3 // 2
    tokens = chunk + options.slots * (1 + options.speculation_tokens)
    values = shape.hidden_size * _WIDTHS + shape.vocab_size
    scores = chunk * shape.heads * context
    return _FIXED + (tokens * values + scores) * _FLOAT


def encoder_workspace(folder: EmbeddingFolder, options: BackendOptions) -> int:
    """Return the bytes for a text that fills the context, or a batch of `ENCODED_POSITIONS`."""
    if options.workspace_bytes:
        return options.workspace_bytes
    positions = max(ENCODED_POSITIONS, folder.context_length)
    values = folder.dimensions * _WIDTHS + _SCORES * folder.heads * folder.context_length
    return _FIXED + positions * values * _FLOAT
