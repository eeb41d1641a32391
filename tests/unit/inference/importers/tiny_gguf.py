"""Writes a llama GGUF small enough for a test, and hands out the values its tensors stand for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize
from tokenizers import pre_tokenizers

Array = npt.NDArray[np.float32]

TEMPLATE = (
    "{% for message in messages %}{{ '<|start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
CONTROL = ("<|none|>", "<|start|>", "<|end|>")
MERGES = ("t h", "th e", "Ġ the", "Ġ a", "i n")


@dataclass(frozen=True)
class Tiny:
    """Shape of the model, and how its tensors are stored."""

    hidden: int = 64
    feed_forward: int = 96
    heads: int = 4
    kv_heads: int = 2
    layers: int = 2
    context: int = 256
    rope_base: float = 5000.0
    epsilon: float = 1e-5
    tied: bool = True
    matrix_type: GGMLQuantizationType = GGMLQuantizationType.Q4_1
    embedding_type: GGMLQuantizationType = GGMLQuantizationType.Q8_0
    fields: dict[str, Any] = field(default_factory=dict)
    """Metadata that replaces the right one; None leaves a field out."""
    without: tuple[str, ...] = ()
    """Tensors left out."""

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads


def vocabulary() -> tuple[list[str], list[int]]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = [merge.replace(" ", "") for merge in MERGES]
    tokens = [*CONTROL, *letters, *merged]
    return tokens, [3] * len(CONTROL) + [1] * (len(tokens) - len(CONTROL))


def write_tiny_gguf(path: Path, tiny: Tiny = Tiny(), seed: int = 5) -> dict[str, Array]:
    """Write the file and return each tensor's dequantised values, [out, in] for matrices."""
    writer = GGUFWriter(path, "llama")
    _write_fields(writer, tiny)
    values: dict[str, Array] = {}
    for name, (kind, array) in _tensors(tiny, np.random.default_rng(seed)).items():
        if name in tiny.without:
            continue
        data = array if kind is GGMLQuantizationType.F32 else quantize(array, kind)
        values[name] = np.asarray(dequantize(data, kind), np.float32).reshape(array.shape)
        writer.add_tensor(name, data, raw_dtype=None if data.dtype == np.float32 else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def _write_fields(writer: GGUFWriter, tiny: Tiny) -> None:
    tokens, types = vocabulary()
    fields: dict[str, Any] = {
        "general.license": "apache-2.0",
        "llama.block_count": tiny.layers,
        "llama.context_length": tiny.context,
        "llama.embedding_length": tiny.hidden,
        "llama.feed_forward_length": tiny.feed_forward,
        "llama.attention.head_count": tiny.heads,
        "llama.attention.head_count_kv": tiny.kv_heads,
        "llama.rope.freq_base": tiny.rope_base,
        "llama.attention.layer_norm_rms_epsilon": tiny.epsilon,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.chat_template": TEMPLATE,
    } | tiny.fields
    for key, value in fields.items():
        if value is not None:
            _write_field(writer, key, value)


def _write_field(writer: GGUFWriter, key: str, value: Any) -> None:
    kinds = {
        str: writer.add_string,
        int: writer.add_uint32,
        float: writer.add_float32,
        list: writer.add_array,
    }
    kinds[type(value)](key, value)


def _tensors(
    tiny: Tiny, random: np.random.Generator
) -> dict[str, tuple[GGMLQuantizationType, Array]]:
    query, shared = tiny.heads * tiny.head_size, tiny.kv_heads * tiny.head_size
    size = len(vocabulary()[0])

    def matrix(rows: int, columns: int, scale: float) -> Array:
        return random.normal(0, scale, (rows, columns)).astype(np.float32)

    def vector() -> Array:
        return random.normal(1, 0.1, tiny.hidden).astype(np.float32)

    plain = GGMLQuantizationType.F32
    tensors = {"token_embd.weight": (tiny.embedding_type, matrix(size, tiny.hidden, 0.6))}
    if not tiny.tied:
        tensors["output.weight"] = (tiny.embedding_type, matrix(size, tiny.hidden, 0.6))
    tensors["output_norm.weight"] = (plain, vector())
    for layer in range(tiny.layers):
        at = f"blk.{layer}"
        tensors[f"{at}.attn_norm.weight"] = (plain, vector())
        tensors[f"{at}.ffn_norm.weight"] = (plain, vector())
        for part, rows, columns in (
            ("attn_q", query, tiny.hidden),
            ("attn_k", shared, tiny.hidden),
            ("attn_v", shared, tiny.hidden),
            ("attn_output", tiny.hidden, query),
            ("ffn_gate", tiny.feed_forward, tiny.hidden),
            ("ffn_up", tiny.feed_forward, tiny.hidden),
            ("ffn_down", tiny.hidden, tiny.feed_forward),
        ):
            tensors[f"{at}.{part}.weight"] = (tiny.matrix_type, matrix(rows, columns, 0.25))
    return tensors
