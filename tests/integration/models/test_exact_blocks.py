"""Levels and scales that fit are carried over as they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from gguf import GGMLQuantizationType
from tests.integration.models.test_families import WIDE, converted
from tests.integration.models.tiny_decoder import Array, random_weights
from tests.integration.models.writing_gguf import write_gguf

from llmrouter.inference.models.folder import ModelFolder


def tensor(folder: ModelFolder, name: str) -> npt.NDArray[np.generic]:
    model = onnx.load(folder.model_file)
    found = next(one for one in model.graph.initializer if one.name == name)
    return np.asarray(onnx.numpy_helper.to_array(found))


def values(folder: ModelFolder, name: str, bits: int) -> Array:
    data = tensor(folder, f"{name}.data").astype(np.int32)
    if bits == 4:
        data = np.stack([data & 15, data >> 4], axis=-1).reshape(*data.shape[:2], 32)
    scales = tensor(folder, f"{name}.scales")
    blocks = (data - (1 << (bits - 1))).astype(np.float32) * scales[..., None]
    return blocks.reshape(len(blocks), -1).astype(np.float32)


@pytest.mark.parametrize("kind", ["Q4_0", "Q5_0", "Q8_0"])
def test_at_eight_bits_symmetric_types_keep_their_values(tmp_path: Path, kind: str) -> None:
    meant = write_gguf(
        tmp_path / "tiny.gguf", WIDE, random_weights(WIDE), GGMLQuantizationType[kind]
    )
    folder = converted(tmp_path / "tiny.gguf", "int8")
    for name in ("token_embd", "blk.0.attn_output", "blk.0.ffn_down"):
        assert np.array_equal(values(folder, name, 8), meant[f"{name}.weight"])
    last = values(folder, "blk.0.attn_qkv", 8)[-WIDE.kv_heads * WIDE.head_size :]
    assert np.array_equal(last, meant["blk.0.attn_v.weight"])


def test_at_four_bits_q4_0_keeps_its_values(tmp_path: Path) -> None:
    meant = write_gguf(
        tmp_path / "tiny.gguf", WIDE, random_weights(WIDE), GGMLQuantizationType.Q4_0
    )
    folder = converted(tmp_path / "tiny.gguf", "int4")
    for name in ("blk.0.attn_output", "blk.0.ffn_gate", "blk.0.ffn_down"):
        assert np.array_equal(values(folder, name, 4), meant[f"{name}.weight"])
