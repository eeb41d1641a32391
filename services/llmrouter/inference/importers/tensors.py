"""What importers offer to whoever writes weights: tensors in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Blocks", "Floats", "Tensors", "row_spans"]

Floats = NDArray[np.float32]

_ELEMENTS_AT_ONCE = 1 << 21
"""8 MiB as float32: small beside every buffer that is counted."""


class Blocks(NamedTuple):
    """Rows as a checkpoint stores them, where it does so symmetrically: value = level * scale."""

    levels: NDArray[np.int8]
    """[rows, blocks of 32 columns, 32]."""
    scales: Floats
    """[rows, blocks]."""
    bits: int
    """Of a level; those of n bits lie within -2^(n-1) to 2^(n-1) - 1."""


class Tensors(Protocol):
    """The weights of an opened checkpoint, under the names of the GGUF convention."""

    def vector(self, name: str) -> Floats:
        """Return a whole vector."""
        ...

    def rows(self, name: str, start: int, stop: int) -> Floats:
        """Return some rows of a matrix [out, in]."""
        ...

    def blocks(self, name: str, start: int, stop: int) -> Blocks | None:
        """Return some rows of a matrix as they are stored; None where they are not so."""
        ...


def row_spans(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield the ends of pieces of a matrix that are read at once."""
    step = max(1, _ELEMENTS_AT_ONCE // columns)
    for start in range(0, rows, step):
        yield start, min(start + step, rows)
