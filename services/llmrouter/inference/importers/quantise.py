"""Block-wise quantisation for MatMulNBits and GatherBlockQuantized (com.microsoft operators)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmrouter.inference.importers.tensors import Blocks

__all__ = ["BLOCK", "Quantised", "quantise4", "quantise8", "stored4", "stored8"]

BLOCK = 32
"""Columns that share a scale."""
_SCALE_GRID = (1.0, 0.96, 0.92, 0.88, 0.84)
_ROWS_AT_ONCE = 4096


class Quantised(NamedTuple):
    """A matrix of [rows, columns] in blocks of columns."""

    data: NDArray[np.uint8]
    """[rows, blocks, bytes per block]; two 4-bit values per byte, the lower one first."""
    scales: NDArray[np.float32]
    """[rows, blocks]."""
    zero_points: NDArray[np.uint8] | None
    """[rows, ceil(blocks / 2)] packed as data; None means the middle of the range."""


def quantise8(weights: NDArray[np.float32]) -> Quantised:
    """Quantise to 8 bits, symmetric: value = (q - 128) * scale.

    Args:
        weights: [rows, columns], columns a multiple of 32.
    """
    blocks = weights.reshape(weights.shape[0], -1, BLOCK)
    scales = np.abs(blocks).max(axis=2) / np.float32(127)
    safe = np.where(scales == 0, np.float32(1), scales)
    q = np.rint(blocks / safe[..., None]) + 128
    return Quantised(q.clip(0, 255).astype(np.uint8), scales.astype(np.float32), None)


def quantise4(weights: NDArray[np.float32]) -> Quantised:
    """Quantise to 4 bits with a zero point: value = (q - zero_point) * scale.

    Of a small grid of scales per block the one with the least squared error is kept: clipping
    the rare extreme often costs less than stretching every step.

    Args:
        weights: [rows, columns], columns a multiple of 32.
    """
    parts = [
        _quantise4_rows(weights[start : start + _ROWS_AT_ONCE])
        for start in range(0, weights.shape[0], _ROWS_AT_ONCE)
    ]
    q, scales, zeros = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    return Quantised(_pack(q), scales, _pack(zeros))


def stored8(blocks: Blocks) -> Quantised:
    """Return stored blocks of up to 8 bits as they are: value = (q - 128) * scale."""
    return Quantised(blocks.levels.view(np.uint8) ^ np.uint8(128), blocks.scales, None)


def stored4(blocks: Blocks) -> Quantised:
    """Return stored blocks of 4 bits as they are: value = (q - 8) * scale."""
    return Quantised(_pack((blocks.levels + np.int8(8)).view(np.uint8)), blocks.scales, None)


def _quantise4_rows(
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    blocks = weights.reshape(weights.shape[0], -1, BLOCK)
    low = np.minimum(blocks.min(axis=2), 0)
    high = np.maximum(blocks.max(axis=2), 0)
    full = (high - low) / np.float32(15)
    full = np.where(full == 0, np.float32(1), full)
    best = np.full(full.shape, np.inf, np.float32)
    scales, zeros = np.zeros_like(full), np.zeros_like(full)
    for factor in _SCALE_GRID:
        scale = full * np.float32(factor)
        for shift in (0.0, 0.5, -0.5):
            zero = np.rint(-low / full + np.float32(shift)).clip(0, 15)
            q = np.rint(blocks / scale[..., None] + zero[..., None]).clip(0, 15)
            error = np.square((q - zero[..., None]) * scale[..., None] - blocks).sum(axis=2)
            better = error < best
            best = np.where(better, error, best)
            scales, zeros = np.where(better, scale, scales), np.where(better, zero, zeros)
    q = np.rint(blocks / scales[..., None] + zeros[..., None]).clip(0, 15)
    return q.astype(np.uint8), scales.astype(np.float32), zeros.astype(np.uint8)


def _pack(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack 4-bit values two per byte along the last axis, padding an odd end with 0."""
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    packed: NDArray[np.uint8] = np.bitwise_or(values[..., 0::2], values[..., 1::2] << np.uint8(4))
    return packed
