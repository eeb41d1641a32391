"""A tiny encoder: a table of vectors, one per token, and a tokenizer of single words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "blue", "loud", "broken")
DIMENSIONS = 4
CONTEXT = 8


def table() -> np.ndarray:
    values = np.random.default_rng(3).normal(size=(len(WORDS), DIMENSIONS)).astype(np.float32)
    values[WORDS.index("broken")] = np.nan
    return values


def write_encoder(folder: Path, *, pooling: str = "mean", **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    _write_graph(folder / "model.onnx")
    _write_tokenizer(folder / "tokenizer.json")
    body = {
        "model_type": "bert",
        "vocab_size": len(WORDS),
        "hidden_size": DIMENSIONS,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(body | config))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": CONTEXT}))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    flags = {f"pooling_mode_{name}": name.startswith(pooling) for name in
             ("mean_tokens", "cls_token", "max_tokens")}  # fmt: skip
    (folder / "1_Pooling/config.json").write_text(json.dumps(flags))
    return folder


def _write_graph(file: Path) -> None:
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "sequence"])
    out = helper.make_tensor_value_info(
        "last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", DIMENSIONS]
    )
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    weights = [numpy_helper.from_array(table(), "table")]
    graph = helper.make_graph(nodes, "encoder", [ids, mask], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(file))


def _write_tokenizer(file: Path) -> None:
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=WORDS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As found in the wild: the file itself would cut and pad every text.
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(file))
