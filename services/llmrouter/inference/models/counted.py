"""How much memory a model counts for, told before it is loaded: the most that it may come to.

One arithmetic for all who ask: a service that makes room, an import that chooses a precision.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.kernels import halves_cache
from llmrouter.inference.models.embedding_folder import EmbeddingFolder
from llmrouter.inference.models.folder import ModelFolder
from llmrouter.inference.models.kinds import StoredModel
from llmrouter.inference.models.shape import DecoderShape
from llmrouter.inference.models.workspace import decoder_workspace, encoder_workspace

__all__ = [
    "Counted",
    "cached_context",
    "computing_bytes",
    "count",
    "count_decoder",
    "default_cache_bytes",
    "position_bytes",
]

_PER_BYTE = 1.4
"""Memory of the weights and whatever computes with them, over the size of the folder; measured on
the demo model."""
_FLOAT, _HALF = 4, 2
"""Bytes of a key's or value's element."""
_CACHE_SHARE = 8
"""Of the memory for all models, one may take an eighth for running keys and values by default."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Bytes that a model may come to take, by what they are for."""

    weights: int
    """The files, and what of them is laid out anew to compute with."""
    workspace: int = 0
    """What a step computes with. What CTranslate2 computes with is not known before."""
    cache: int = 0
    """Keys and values of running sequences."""
    parked: int = 0
    """Those of sequences that gave way."""
    prefixes: int = 0
    """Those of earlier prompts and answers."""

    @property
    def total(self) -> int:
        """All together."""
        return sum(asdict(self).values())

    def told(self) -> str:
        """Return the parts in MiB, each with the settings that it is made smaller by."""
        parts = {
            "weights": self.weights,
            "workspace (inference.workspace_mib)": self.workspace,
            "running sequences (cache_mib, slots)": self.cache,
            "parked ones (parked_cache_mib)": self.parked,
            "earlier prompts (prefix_cache_mib)": self.prefixes,
        }
        return ", ".join(f"{name} {size / 2**20:,.0f}" for name, size in parts.items() if size)


def default_cache_bytes(budget: int) -> int:
    """Return the memory for running keys and values of a model where none is set.

    Args:
        budget: For all models together, in bytes; 0 for no bound, of which there is no share.
    """
    return budget // _CACHE_SHARE


def count(folder: StoredModel, options: BackendOptions) -> Counted:
    """Return what the model of a folder counts for as far as `options` lets it grow."""
    match folder:
        case ModelFolder():
            return count_decoder(_shape(folder), options)
        case EmbeddingFolder():
            return Counted(_weights(folder.size_bytes), encoder_workspace(folder, options))
        case _:
            return Counted(_weights(folder.size_bytes))


def count_decoder(shape: DecoderShape, options: BackendOptions) -> Counted:
    """Return what a decoder of this shape counts for."""
    context = options.context or shape.context_length
    every = options.slots * context * position_bytes(shape, options)
    running = min(options.cache_bytes or every, every)
    return Counted(
        weights=_weights(shape.size_bytes),
        workspace=decoder_workspace(shape, options, _context(shape, options)),
        cache=running,
        parked=min(options.parked_bytes, running),
        prefixes=options.prefix_bytes,
    )


def computing_bytes(folder: StoredModel, options: BackendOptions) -> int:
    """Return the bytes of the weights and of what is computed with them.

    Of graphs this is the most that ONNX Runtime is given for the model.
    """
    counted = count(folder, options)
    return counted.weights + counted.workspace


def cached_context(folder: StoredModel, options: BackendOptions) -> int:
    """Return how many tokens one sequence will hold, as far as it is known before loading."""
    if isinstance(folder, ModelFolder):
        return _context(_shape(folder), options)
    return options.context or folder.context_length


def position_bytes(shape: DecoderShape, options: BackendOptions) -> int:
    """Return the bytes of one token's keys and values.

    Where it is not known how they are kept before the graph is read, they count whole; where
    attention turns out to be left to ONNX Runtime, which keeps them whole, they may count half.
    """
    ours = options.kernels != "onnxruntime"
    halved = ours and halves_cache(options.cache_type, options.kernels, quantised=shape.quantised)
    element = _HALF if halved else _FLOAT
    return 2 * shape.layers * shape.kv_heads * shape.head_size * element


def _weights(size_bytes: int) -> int:
    return int(size_bytes * _PER_BYTE)


def _context(shape: DecoderShape, options: BackendOptions) -> int:
    asked = options.context or shape.context_length
    if not options.cache_bytes:
        return asked
    return max(1, min(asked, options.cache_bytes // position_bytes(shape, options)))


def _shape(folder: ModelFolder) -> DecoderShape:
    return DecoderShape(
        size_bytes=folder.size_bytes,
        context_length=folder.context_length,
        layers=folder.layers,
        heads=folder.heads,
        kv_heads=folder.kv_heads,
        head_size=folder.head_size,
        hidden_size=folder.hidden_size,
        vocab_size=folder.vocab_size,
        quantised=folder.card is not None and folder.card.precision != "fp32",
    )
