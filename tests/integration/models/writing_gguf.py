"""Writes a decoder as the GGUF file that llama.cpp's converter would make of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, dequantize, quantize
from tests.integration.models.tiny_decoder import Array, Decoder
from tests.unit.inference.importers.tiny_gguf import MERGES, TEMPLATE, vocabulary

K_TYPES = (GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q5_K, GGMLQuantizationType.Q6_K)


def write_gguf(
    path: Path,
    decoder: Decoder,
    weights: Mapping[str, Array],
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
) -> dict[str, Array]:
    """Write the file and return the values its tensors stand for, in transformers' conventions."""
    name = "llama" if decoder.family == "mistral" else decoder.family
    writer = GGUFWriter(path, name)
    for key, value in _fields(decoder).items():
        _write_field(writer, key if key.startswith("tokenizer.") else f"{name}.{key}", value)
    values = dict(weights)
    for tensor, array in _converted(decoder, weights).items():
        plain = array.ndim == 1
        stored, meant = _stored(array, GGMLQuantizationType.F32 if plain else kind)
        writer.add_tensor(tensor, stored, raw_dtype=None if stored.dtype == np.float32 else kind)
        if not plain:
            values |= _meant(decoder, tensor, meant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


def _fields(decoder: Decoder) -> dict[str, Any]:
    tokens, types = vocabulary()
    scaling = decoder.scaling or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    fields: dict[str, Any] = {
        "block_count": decoder.layers,
        "context_length": decoder.context,
        "embedding_length": decoder.hidden,
        "feed_forward_length": decoder.feed_forward,
        "attention.head_count": decoder.heads,
        "attention.head_count_kv": decoder.kv_heads,
        "attention.key_length": decoder.head_size,
        "attention.value_length": decoder.head_size,
        "attention.layer_norm_rms_epsilon": decoder.epsilon,
        "rope.freq_base": decoder.base,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2" if decoder.family.startswith("qwen") else "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    }
    if kind in {"linear", "yarn"}:
        fields |= {"rope.scaling.type": kind, "rope.scaling.factor": scaling["factor"]}
    if kind == "yarn":
        fields["rope.scaling.original_context_length"] = 64
    if kind == "longrope":
        fields["rope.scaling.original_context_length"] = 64
        stretched = np.log(decoder.context / 64) / np.log(64)
        fields["rope.scaling.attn_factor"] = float(np.sqrt(1 + stretched))
    if any(decoder.windows) and decoder.family != "mistral":
        fields["attention.sliding_window"] = max(decoder.windows)
    if decoder.logits_cap:
        fields["attn_logit_softcapping"] = decoder.score_cap
        fields["final_logit_softcapping"] = decoder.logits_cap
    return fields | decoder.fields


def _write_field(writer: GGUFWriter, key: str, value: Any) -> None:
    kinds = {
        str: writer.add_string,
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        list: writer.add_array,
    }
    kinds[type(value)](key, value)


def _converted(decoder: Decoder, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors as llama.cpp wants them: gains whole, llama's pairs side by side, phi3's joined."""
    made = {}
    for name, value in weights.items():
        part = name.split(".")[-2]
        made[name] = value + np.float32(decoder.gain) if "norm" in name else value
        if decoder.family in {"llama", "mistral"} and part in {"attn_q", "attn_k"}:
            heads = decoder.heads if part == "attn_q" else decoder.kv_heads
            made[name] = _paired(value, heads)
    if decoder.family == "phi3":
        for layer in range(decoder.layers):
            at = f"blk.{layer}"
            parts = [made.pop(f"{at}.attn_{one}.weight") for one in "qkv"]
            made[f"{at}.attn_qkv.weight"] = np.concatenate(parts)
            parts = [made.pop(f"{at}.ffn_{one}.weight") for one in ("gate", "up")]
            made[f"{at}.ffn_up.weight"] = np.concatenate(parts)
    scaling = decoder.scaling or {}
    if scaling.get("rope_type") == "llama3":
        made["rope_freqs.weight"] = _llama3_factors(decoder)
    if scaling.get("type") == "longrope":
        for kind in ("short", "long"):
            factors = np.array(scaling[f"{kind}_factor"], np.float32)
            made[f"rope_factors_{kind}.weight"] = factors
    return made


def _meant(decoder: Decoder, tensor: str, value: Array) -> dict[str, Array]:
    """What a stored tensor means in transformers' conventions, under our names."""
    at, part = tensor.rsplit(".", 2)[0], tensor.split(".")[-2]
    if decoder.family == "phi3" and part in {"attn_qkv", "ffn_up"}:
        query, shared = decoder.heads * decoder.head_size, decoder.kv_heads * decoder.head_size
        if part == "ffn_up":
            gate, up = np.split(value, 2)
            return {f"{at}.ffn_gate.weight": gate, f"{at}.ffn_up.weight": up}
        pieces = np.split(value, [query, query + shared])
        return {f"{at}.attn_{one}.weight": rows for one, rows in zip("qkv", pieces, strict=True)}
    if decoder.family in {"llama", "mistral"} and part in {"attn_q", "attn_k"}:
        value = _halved(value, decoder.heads if part == "attn_q" else decoder.kv_heads)
    return {tensor: value}


def _paired(value: Array, heads: int) -> Array:
    rest = value.shape[1:]
    return value.reshape(heads, 2, -1, *rest).swapaxes(1, 2).reshape(value.shape)


def _halved(value: Array, heads: int) -> Array:
    rest = value.shape[1:]
    return value.reshape(heads, -1, 2, *rest).swapaxes(1, 2).reshape(value.shape)


def _llama3_factors(decoder: Decoder) -> Array:
    scaling = decoder.scaling or {}
    size = decoder.head_size
    wavelength = 2 * np.pi * decoder.base ** (np.arange(0, size, 2) / size)
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = np.clip((original / wavelength - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def _stored(array: Array, kind: GGMLQuantizationType) -> tuple[Any, Array]:
    """The bytes of a tensor and the values they stand for."""
    if kind is GGMLQuantizationType.F32:
        return array, array
    stored = _random_blocks(array, kind) if kind in K_TYPES else quantize(array, kind)
    return stored, np.asarray(dequantize(stored, kind), np.float32).reshape(array.shape)


def _random_blocks(array: Array, kind: GGMLQuantizationType) -> Any:
    """Blocks of a type that the library reads and does not write: random levels, right scales."""
    elements, size = GGML_QUANT_SIZES[kind]
    random = np.random.default_rng(array.size)
    shape = (array.shape[0], array.shape[1] // elements, size)
    blocks = random.integers(0, 256, shape, np.uint8)
    spread = float(array.std())
    if kind is GGMLQuantizationType.Q6_K:
        # 16 scales of a byte and one for all of them, behind the levels.
        blocks[..., -18:-2] = random.integers(20, 60, (*shape[:2], 16), np.uint8)
        _put_half(blocks, size - 2, spread / 700)
    else:
        # One scale for the steps and one for the least values, before all.
        _put_half(blocks, 0, spread / (200 if kind is GGMLQuantizationType.Q4_K else 400))
        _put_half(blocks, 2, spread / 30)
    return blocks.reshape(array.shape[0], -1)


def _put_half(blocks: Any, at: int, value: float) -> None:
    blocks[..., at : at + 2] = np.array([value], np.float16).view(np.uint8)
