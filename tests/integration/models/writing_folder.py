"""Writes a decoder as the Hugging Face folder that transformers would save."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from tests.integration.models.tiny_decoder import Array, Decoder
from tests.unit.inference.importers.tiny_gguf import TEMPLATE, vocabulary
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

KINDS: dict[str, npt.DTypeLike] = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}
_NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip
_GEMMA2 = {
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}  # fmt: skip
_CLASSES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM", "gemma": "GemmaForCausalLM", "gemma2": "Gemma2ForCausalLM",
    "phi3": "Phi3ForCausalLM",
}  # fmt: skip


def write_folder(
    folder: Path, decoder: Decoder, weights: Mapping[str, Array], kind: str = "F32", shards: int = 1
) -> dict[str, Array]:
    """Write the folder and return the values its tensors stand for."""
    folder.mkdir(parents=True)
    stored = {name: value.astype(KINDS[kind]) for name, value in weights.items()}
    named = _named(decoder, stored)
    if shards == 1:
        write_safetensors(folder / "model.safetensors", named, kind)
    else:
        places = {
            name: f"model-{index % shards:05}.safetensors" for index, name in enumerate(named)
        }
        for file in sorted(set(places.values())):
            part = {name: value for name, value in named.items() if places[name] == file}
            write_safetensors(folder / file, part, kind)
        index = json.dumps({"metadata": {}, "weight_map": places})
        (folder / "model.safetensors.index.json").write_text(index)
    (folder / "config.json").write_text(json.dumps(config(decoder)))
    write_texts(folder)
    return {name: value.astype(np.float32) for name, value in stored.items()}


def config(decoder: Decoder) -> dict[str, Any]:
    return {
        "architectures": [_CLASSES[decoder.family]],
        "model_type": decoder.family,
        "vocab_size": decoder.vocabulary,
        "hidden_size": decoder.hidden,
        "intermediate_size": decoder.feed_forward,
        "num_hidden_layers": decoder.layers,
        "num_attention_heads": decoder.heads,
        "num_key_value_heads": decoder.kv_heads,
        "head_dim": decoder.head_size,
        "max_position_embeddings": decoder.context,
        "rms_norm_eps": decoder.epsilon,
        "rope_theta": decoder.base,
        "rope_scaling": decoder.scaling,
        "tie_word_embeddings": decoder.tied,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    } | decoder.config


def write_safetensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]], kind: str) -> None:
    """Write a file as https://github.com/huggingface/safetensors#format says."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, value in tensors.items():
        place = [at, at + value.nbytes]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": place}
        at += value.nbytes
    text = json.dumps(header).encode()
    body = b"".join(np.ascontiguousarray(value).tobytes() for value in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def write_texts(folder: Path) -> None:
    """Write tokenizer, chat template and the generation's settings."""
    tokens, types = vocabulary()
    ids = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [one for one, kind in zip(tokens, types, strict=True) if kind == 3]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<|start|>", "eos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0]}))


def _named(
    decoder: Decoder, weights: Mapping[str, npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Give tensors the names that transformers gives them, joined where it joins them."""
    outside = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    named = {outside[name]: value for name, value in weights.items() if name in outside}
    names = _NAMES | (_GEMMA2 if decoder.output_norms else {})
    for layer in range(decoder.layers):
        inner = {
            name.removeprefix(f"blk.{layer}."): value
            for name, value in weights.items()
            if name.startswith(f"blk.{layer}.")
        }
        at = f"model.layers.{layer}"
        if decoder.family == "phi3":
            joined = {"self_attn.qkv_proj": ("attn_q", "attn_k", "attn_v"),
                      "mlp.gate_up_proj": ("ffn_gate", "ffn_up")}  # fmt: skip
            for name, parts in joined.items():
                pieces = [inner.pop(f"{part}.weight") for part in parts]
                named[f"{at}.{name}.weight"] = np.concatenate(pieces)
        for name, value in inner.items():
            part, _, ending = name.rpartition(".")
            named[f"{at}.{names[part]}.{ending}"] = value
    return named
