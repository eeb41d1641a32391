"""Matrices on their way from a checkpoint to a graph: read in pieces, quantised, multiplied by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llmrouter.inference.importers.nodes import CONTRIB, Nodes
from llmrouter.inference.importers.quantise import (
    BLOCK,
    Quantised,
    quantise4,
    quantise8,
    stored4,
    stored8,
)
from llmrouter.inference.importers.tensors import Tensors, row_spans
from llmrouter.inference.importers.weights import WeightFile

__all__ = ["Matrices", "Stack"]

_ACCURACY_INT8 = 4
"""Products round their input to 8 bits, a scale per block."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Matrices of the checkpoint, one above the other: what multiplies one input at once."""

    name: str
    """In the graph."""
    parts: tuple[tuple[str, int], ...]
    """Name in the checkpoint and rows of each."""
    columns: int

    @property
    def rows(self) -> int:
        """Of all parts together."""
        return sum(rows for _, rows in self.parts)


class Matrices:
    """Writes the matrices of one model at one precision."""

    def __init__(self, tensors: Tensors, precision: str, data: WeightFile, nodes: Nodes) -> None:
        self._tensors, self.precision = tensors, precision
        self._data, self._nodes = data, nodes

    @property
    def plain(self) -> bool:
        """Whether nothing is quantised."""
        return self.precision == "fp32"

    def product(self, stack: Stack, source: str, bits: int) -> str:
        """Multiply `source` by a stack, at `bits` where it is quantised, and return the result.

        What the checkpoint itself stores at 4 bits stays so at that precision.
        """
        if self.plain:
            return self._nodes.add("MatMul", [source, self._write_transposed(stack)])
        if self.precision == "int4" and self._stored_in(stack, 4):
            bits = 4
        centred = self._write_blocks(stack, bits)
        return self.multiply_blocks(stack, source, bits, centred=centred)

    def multiply_blocks(
        self, stack: Stack, source: str, bits: int, *, centred: bool = True, output: str = ""
    ) -> str:
        """Multiply by a stack that is written already.

        Args:
            stack: Which.
            source: The input's name.
            bits: Of its levels.
            centred: Whether it has no zero points of its own.
            output: The result's name; empty makes one up.
        """
        inputs = [source, f"{stack.name}.data", f"{stack.name}.scales"]
        if not centred:
            inputs.append(f"{stack.name}.zero_points")
        return self._nodes.add(
            "MatMulNBits", inputs, domain=CONTRIB, output=output, N=stack.rows, K=stack.columns,
            bits=bits, block_size=BLOCK, accuracy_level=_ACCURACY_INT8,
        )  # fmt: skip

    def write_table(self, stack: Stack) -> None:
        """Write a matrix whose rows are looked up: unquantised as it lies, else at 8 bits."""
        if not self.plain:
            self._write_blocks(stack, 8)
            return
        region = self._data.reserve(stack.name, np.float32, (stack.rows, stack.columns))
        for name, start, stop in () if region.whole else _pieces(stack):
            region.append(self._tensors.rows(name, start, stop))

    def _stored_in(self, stack: Stack, bits: int) -> bool:
        return all(
            stored is not None and stored.bits == bits
            for stored in (self._tensors.blocks(name, 0, 1) for name, _ in stack.parts)
        )

    def _write_transposed(self, stack: Stack) -> str:
        region = self._data.reserve(stack.name, np.float32, (stack.columns, stack.rows))
        if region.whole:
            return stack.name
        # Transposed in one piece: the largest of these is a layer's, never the vocabulary's.
        whole = np.empty((stack.columns, stack.rows), np.float32)
        at = 0
        for name, start, stop in _pieces(stack):
            whole[:, at : at + stop - start] = self._tensors.rows(name, start, stop).T
            at += stop - start
        region.append(whole)
        return stack.name

    def _write_blocks(self, stack: Stack, bits: int) -> bool:
        """Write a stack in blocks and return whether its levels are centred."""
        blocks = stack.columns // BLOCK
        centred = bits == 8 or self._stored_in(stack, 4)
        data = self._data.reserve(
            f"{stack.name}.data", np.uint8, (stack.rows, blocks, BLOCK * bits // 8)
        )
        scales = self._data.reserve(f"{stack.name}.scales", np.float32, (stack.rows, blocks))
        zeros = None
        if not centred:
            shape = (stack.rows, -(-blocks // 2))
            zeros = self._data.reserve(f"{stack.name}.zero_points", np.uint8, shape)
        there = data.whole and scales.whole and (zeros is None or zeros.whole)
        for name, start, stop in () if there else _pieces(stack):
            packed = self._quantised(name, start, stop, bits, centred=centred)
            data.append(packed.data)
            scales.append(packed.scales)
            if zeros is not None and packed.zero_points is not None:
                zeros.append(packed.zero_points)
        return centred

    def _quantised(
        self, name: str, start: int, stop: int, bits: int, *, centred: bool
    ) -> Quantised:
        """Return some rows in blocks, exactly as they are stored where that is possible."""
        stored = self._tensors.blocks(name, start, stop) if centred else None
        if stored is not None:
            return stored8(stored) if bits == 8 else stored4(stored)
        rows = np.ascontiguousarray(self._tensors.rows(name, start, stop))
        return quantise8(rows) if bits == 8 else quantise4(rows)


def _pieces(stack: Stack) -> Iterator[tuple[str, int, int]]:
    """Yield name, first and last row of every piece, in the order of the stack."""
    for name, rows in stack.parts:
        for start, stop in row_spans(rows, stack.columns):
            yield name, start, stop
