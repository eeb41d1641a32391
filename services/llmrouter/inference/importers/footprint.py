"""How much memory a model takes once it is loaded, told before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

from llmrouter.inference.importers.architecture import LAYER_MATRICES, Architecture
from llmrouter.inference.importers.bit_plan import planned_bits
from llmrouter.inference.importers.quantise import BLOCK

__all__ = ["Footprint", "footprint"]

_FLOAT = 4
_CHUNK = 256
"""Tokens of a prompt that are computed at once."""
_ROWS = 32
"""Rows whose logits are computed at once."""
_RUNTIME = 64 * 2**20
"""ONNX Runtime itself and the structures of a session (measured: 40 to 60 MiB)."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes, by what they are for."""

    precision: str
    weights: int
    """As they lie in the file, which is mapped."""
    prepacked: int
    """The matrices again, as the products lay them out for speed."""
    cache: int
    """Keys and values of the tokens that are to be held."""
    workspace: int
    """What a step computes with, and the runtime."""

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.prepacked + self.cache + self.workspace


def footprint(model: Architecture, precision: str, cache_tokens: int) -> Footprint:
    """Return what a model takes at one precision.

    Args:
        model: Its shape.
        precision: `int8`, `int4` or `fp32`.
        cache_tokens: Tokens, of all sequences together, whose keys and values are held.
    """
    inner = sum(
        _matrix(model, part, precision, layer)
        for layer in range(model.layers)
        for part in LAYER_MATRICES
    )
    table = model.vocab_size * model.hidden
    head = table * _FLOAT if precision == "fp32" else _blocks(table, 8)
    tables = head * (1 if model.tied else 2)
    angles = 2 * model.context * model.head_size // 2 * _FLOAT
    # Unquantised, the head reads its matrix as it lies (Gemm); in blocks it is laid out anew.
    prepacked = inner + (0 if precision == "fp32" else head)
    per_token = 2 * model.layers * model.shared_width * _FLOAT
    widths = 4 * model.hidden + model.query_width + 2 * model.shared_width
    widths += 3 * model.feed_forward
    workspace = _CHUNK * widths * _FLOAT + 2 * _ROWS * model.vocab_size * _FLOAT + _RUNTIME
    return Footprint(
        precision=precision,
        weights=inner + tables + angles,
        prepacked=prepacked,
        cache=cache_tokens * per_token,
        workspace=workspace,
    )


def _matrix(model: Architecture, part: str, precision: str, layer: int) -> int:
    rows, columns = model.matrix_shape(part)
    if precision == "fp32":
        return rows * columns * _FLOAT
    return _blocks(rows * columns, planned_bits(precision, part, layer, model.layers))


def _blocks(elements: int, bits: int) -> int:
    """Return the bytes of so many weights: levels, a scale per block, at 4 bits a zero point."""
    zero_points = elements // BLOCK // 2 if bits == 4 else 0
    return elements * bits // 8 + elements // BLOCK * _FLOAT + zero_points
