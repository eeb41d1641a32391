"""How much memory a model counts for, told before it is loaded: the most that it may come to."""

from __future__ import annotations

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.models.folder import ModelFolder
from llmrouter.inference.models.kinds import StoredModel

__all__ = ["cached_context", "counted_bytes"]

_PER_BYTE = 1.4
"""Memory of the weights and whatever computes with them, over the size of the folder; measured on
the demo model."""
_FLOAT, _HALF = 4, 2
"""Bytes of a key's or value's element."""


def counted_bytes(folder: StoredModel, options: BackendOptions) -> int:
    """Return the bytes of the weights and of all keys and values that may be held beside them.

    Of a folder in the layout of onnxruntime-genai the keys and values of running sequences, of
    parked ones and of earlier prompts count as far as `options` lets them grow; what other engines
    hold while they compute is not known before.
    """
    loaded = int(folder.size_bytes * _PER_BYTE)
    if not isinstance(folder, ModelFolder):
        return loaded
    every = options.slots * (options.context or folder.context_length) * _position(folder, options)
    running = min(options.cache_bytes or every, every)
    return loaded + running + min(options.parked_bytes, running) + options.prefix_bytes


def cached_context(folder: StoredModel, options: BackendOptions) -> int:
    """Return how many tokens one sequence will hold, as far as it is known before loading."""
    asked = options.context or folder.context_length
    if not isinstance(folder, ModelFolder) or not options.cache_bytes:
        return asked
    return max(1, min(asked, options.cache_bytes // _position(folder, options)))


def _position(folder: ModelFolder, options: BackendOptions) -> int:
    """Return the bytes of one token's keys and values.

    Where it is not known how they are kept before the graph is read, they count whole.
    """
    quantised = folder.card is not None and folder.card.precision != "fp32"
    halved = options.cache_type == "float16" or (options.cache_type == "auto" and quantised)
    element = _HALF if halved and options.kernels != "onnxruntime" else _FLOAT
    return 2 * folder.layers * folder.kv_heads * folder.head_size * element
