from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from llmrouter.inference.importers.quantise import BLOCK, Quantised, quantise4, quantise8

Array = npt.NDArray[np.float32]


def weights(rows: int = 64, columns: int = 5 * BLOCK, seed: int = 1) -> Array:
    random = np.random.default_rng(seed)
    return (random.normal(0.02, 1, (rows, columns)) * random.uniform(0.1, 2, (rows, 1))).astype(
        np.float32
    )


def unpacked(packed: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.float32]:
    both = np.stack([packed & 15, packed >> 4], axis=-1)
    return both.reshape(*packed.shape[:-1], -1)[..., :count].astype(np.float32)


def values8(packed: Quantised) -> Array:
    assert packed.zero_points is None
    blocks = (packed.data.astype(np.float32) - 128) * packed.scales[..., None]
    return blocks.reshape(len(blocks), -1)


def values4(packed: Quantised) -> Array:
    assert packed.zero_points is not None
    zeros = unpacked(packed.zero_points, packed.scales.shape[1])
    blocks = (unpacked(packed.data, BLOCK) - zeros[..., None]) * packed.scales[..., None]
    return blocks.reshape(len(blocks), -1)


def test_eight_bits_are_off_by_half_a_step_at_most() -> None:
    exact = weights()
    packed = quantise8(exact)
    steps = np.abs(exact).reshape(64, -1, BLOCK).max(axis=2) / 127
    assert np.allclose(packed.scales, steps)
    off = np.abs(values8(packed) - exact).reshape(64, -1, BLOCK)
    assert (off <= steps[..., None] * 0.5001).all()


def test_eight_bits_keep_what_was_stored_at_eight_bits() -> None:
    levels = np.random.default_rng(3).integers(-126, 127, (8, 4, BLOCK)).astype(np.float32)
    levels[..., 0] = 127
    exact = (levels * np.float32(0.03125)).reshape(8, -1)
    assert np.array_equal(values8(quantise8(exact)), exact)


def test_four_bits_lose_less_than_plain_rounding() -> None:
    exact = weights()
    blocks = exact.reshape(64, -1, BLOCK)
    low, high = np.minimum(blocks.min(2), 0), np.maximum(blocks.max(2), 0)
    scale = (high - low)[..., None] / 15
    zero = np.rint(-low[..., None] / scale)
    plain = (np.rint(blocks / scale + zero).clip(0, 15) - zero) * scale
    lost = np.square(values4(quantise4(exact)) - exact).mean()
    assert lost < 0.97 * np.square(plain - blocks).mean()


@pytest.mark.parametrize("columns", [BLOCK, 2 * BLOCK, 3 * BLOCK])
def test_shapes_are_those_of_the_operator(columns: int) -> None:
    packed = quantise4(weights(10, columns))
    blocks = columns // BLOCK
    assert packed.data.shape == (10, blocks, BLOCK // 2)
    assert packed.zero_points is not None
    assert packed.zero_points.shape == (10, -(-blocks // 2))
    assert packed.scales.shape == (10, blocks)


def test_zeros_stay_zeros() -> None:
    nothing = np.zeros((4, 2 * BLOCK), np.float32)
    assert not values8(quantise8(nothing)).any()
    assert not values4(quantise4(nothing)).any()


def test_many_rows_are_quantised_as_few_are() -> None:
    exact = weights(9000, BLOCK)
    assert np.array_equal(values4(quantise4(exact))[8000:], values4(quantise4(exact[8000:])))
