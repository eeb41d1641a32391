"""Writes the text side of a model folder; weights are an empty file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.inference.importers.tiny_gguf import CONTROL, MERGES, TEMPLATE, vocabulary

from llmrouter.inference.importers.tokenizer_files import Vocabulary, write_tokenizer


def config(**decoder: Any) -> dict[str, Any]:
    return {
        "model": {
            "type": "llama",
            "vocab_size": len(vocabulary()[0]),
            "context_length": 128,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder": {
                "filename": "model.onnx",
                "head_size": 16,
                "hidden_size": 64,
                "num_attention_heads": 4,
                "num_hidden_layers": 2,
                "num_key_value_heads": 2,
            }
            | decoder,
        }
    }


def write_config(folder: Path, content: Any) -> None:
    (folder / "genai_config.json").write_text(json.dumps(content))


def write_tiny_folder(folder: Path, template: str | None = TEMPLATE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, config())
    (folder / "model.onnx").write_bytes(b"")
    tokens, types = vocabulary()
    merges = [(left, right) for left, _, right in (one.partition(" ") for one in MERGES)]
    write_tokenizer(
        folder,
        Vocabulary(
            tokens=tokens, types=types, merges=merges, pre_tokenizer="smollm",
            bos=1, eos=2, pad=2, unknown=0, chat_template=template,
        ),
    )  # fmt: skip
    assert tokens[: len(CONTROL)] == list(CONTROL)
    return folder
