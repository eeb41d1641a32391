"""Writing genai_config.json: what onnxruntime-genai and our own engine read first."""

from __future__ import annotations

import json
from pathlib import Path

from llmrouter.inference.importers.architecture import Architecture

__all__ = ["write_genai_config"]


def write_genai_config(target: Path, model: Architecture) -> None:
    """Write the configuration of a decoder-only folder."""
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": model.head_size,
        "hidden_size": model.hidden,
        "num_attention_heads": model.heads,
        "num_hidden_layers": model.layers,
        "num_key_value_heads": model.kv_heads,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }
    eos = list(model.eos_token_ids)
    body: dict[str, object] = {
        "type": model.name,
        "vocab_size": model.vocab_size,
        "context_length": model.context,
        "eos_token_id": eos if len(eos) > 1 else eos[0],
        "pad_token_id": model.pad_token_id if model.pad_token_id is not None else eos[0],
        "decoder": decoder,
    }
    if model.bos_token_id is not None:
        body["bos_token_id"] = model.bos_token_id
    search = {
        "max_length": model.context,
        "past_present_share_buffer": True,
        "do_sample": False,
        "num_beams": 1,
        "num_return_sequences": 1,
        "temperature": 1.0,
        "top_k": 1,
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "early_stopping": True,
    }
    text = json.dumps({"model": body, "search": search}, indent=1)
    (target / "genai_config.json").write_text(text)
