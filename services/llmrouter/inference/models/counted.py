"""How much memory a model counts for, told before it is loaded: the most that it may come to."""

from __future__ import annotations

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.kernels import halves_cache
from llmrouter.inference.models.embedding_folder import EmbeddingFolder
from llmrouter.inference.models.folder import ModelFolder
from llmrouter.inference.models.kinds import StoredModel
from llmrouter.inference.models.workspace import decoder_workspace, encoder_workspace

__all__ = ["cached_context", "computing_bytes", "counted_bytes"]

_PER_BYTE = 1.4
"""Memory of the weights and whatever computes with them, over the size of the folder; measured on
the demo model."""
_FLOAT, _HALF = 4, 2
"""Bytes of a key's or value's element."""


def counted_bytes(folder: StoredModel, options: BackendOptions) -> int:
    """Return the bytes of the weights, and of all that may be held or computed with beside them.

    Of a folder in the layout of onnxruntime-genai the keys and values of running sequences, of
    parked ones and of earlier prompts count as far as `options` lets them grow. What CTranslate2
    holds while it computes is not known before.
    """
    loaded = computing_bytes(folder, options)
    if not isinstance(folder, ModelFolder):
        return loaded
    every = options.slots * (options.context or folder.context_length) * _position(folder, options)
    running = min(options.cache_bytes or every, every)
    return loaded + running + min(options.parked_bytes, running) + options.prefix_bytes


def computing_bytes(folder: StoredModel, options: BackendOptions) -> int:
    """Return the bytes of the weights and of what is computed with them.

    Of graphs this is the most that ONNX Runtime is given for the model.
    """
    weights = int(folder.size_bytes * _PER_BYTE)
    match folder:
        case ModelFolder():
            context = cached_context(folder, options)
            return weights + decoder_workspace(folder, options, context)
        case EmbeddingFolder():
            return weights + encoder_workspace(folder, options)
        case _:
            return weights


def cached_context(folder: StoredModel, options: BackendOptions) -> int:
    """Return how many tokens one sequence will hold, as far as it is known before loading."""
    asked = options.context or folder.context_length
    if not isinstance(folder, ModelFolder) or not options.cache_bytes:
        return asked
    return max(1, min(asked, options.cache_bytes // _position(folder, options)))


def _position(folder: ModelFolder, options: BackendOptions) -> int:
    """Return the bytes of one token's keys and values.

    Where it is not known how they are kept before the graph is read, they count whole; where
    attention turns out to be left to ONNX Runtime, which keeps them whole, they may count half.
    """
    quantised = folder.card is not None and folder.card.precision != "fp32"
    ours = options.kernels != "onnxruntime"
    halved = ours and halves_cache(options.cache_type, options.kernels, quantised=quantised)
    element = _HALF if halved else _FLOAT
    return 2 * folder.layers * folder.kv_heads * folder.head_size * element
