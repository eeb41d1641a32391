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


def write_encoder(
    folder: Path,
    *,
    pooling: str = "mean",
    rows: int = len(WORDS),
    positions: int = 1 << 10,
    loops_on: str = "",
    one_vector: bool = False,
    **config: Any,
) -> Path:
    """Write a folder whose graph has faults as asked for.

    Args:
        folder: Where.
        pooling: The one that is switched on.
        rows: Tokens that the graph knows, of those that the tokenizer makes.
        positions: Tokens of a text that the graph can take.
        loops_on: A word at which the graph never ends.
        one_vector: Whether the graph gives [1, 1, dimensions] whatever comes.
        **config: Fields of config.json to add or to change.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_graph(folder / "model.onnx", rows, positions, loops_on, one_vector)
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


def _write_graph(file: Path, rows: int, positions: int, loops_on: str, one_vector: bool) -> None:
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "sequence"])
    out = helper.make_tensor_value_info(
        "last_hidden_state", TensorProto.FLOAT, ["texts", "tokens", DIMENSIONS]
    )
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["words"]),
        node("Shape", ["input_ids"], ["length"], start=1, end=2),
        node("Squeeze", ["length"], ["end"]),
        node("Range", ["zero", "end", "one"], ["places"]),
        node("Gather", ["positions", "places"], ["placed"]),
        node("Add", ["words", "placed"], ["summed"]),
        node("Equal", ["input_ids", "endless"], ["equal"]),
        node("Cast", ["equal"], ["hits"], to=TensorProto.INT64),
        node("ReduceMax", ["hits"], ["any"], keepdims=0),
        node("Cast", ["any"], ["loops"], to=TensorProto.BOOL),
        node("Loop", ["", "loops", "summed"], ["looped"], body=_endless())
        if loops_on
        else node("Identity", ["summed"], ["looped"]),
        node("ReduceMean", ["looped"], ["last_hidden_state"], axes=[0, 1])
        if one_vector
        else node("Identity", ["looped"], ["last_hidden_state"]),
    ]
    endless = WORDS.index(loops_on) if loops_on else -1
    weights = [
        numpy_helper.from_array(table()[:rows], "table"),
        numpy_helper.from_array(np.zeros((positions, DIMENSIONS), np.float32), "positions"),
        numpy_helper.from_array(np.array(endless), "endless"),
        numpy_helper.from_array(np.array(0), "zero"),
        numpy_helper.from_array(np.array(1), "one"),
    ]
    graph = helper.make_graph(nodes, "encoder", [ids, mask], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(file))


def _endless() -> onnx.GraphProto:
    """The body of a loop that goes on as long as it has begun."""

    def value(name: str, kind: int, shape: list[str | int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    state = ["batch", "sequence", DIMENSIONS]
    takes = [
        value("turn", TensorProto.INT64, []),
        value("goes_on", TensorProto.BOOL, []),
        value("state", TensorProto.FLOAT, state),
    ]
    gives = [
        value("still_goes_on", TensorProto.BOOL, []),
        value("next_state", TensorProto.FLOAT, state),
    ]
    nodes = [
        helper.make_node("Identity", ["goes_on"], ["still_goes_on"]),
        helper.make_node("Identity", ["state"], ["next_state"]),
    ]
    return helper.make_graph(nodes, "endless", takes, gives)


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
