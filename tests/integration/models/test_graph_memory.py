"""A stranger's graph takes no more memory than its model counts for, whatever it is fed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.integration.embedding.tiny_encoder import WORDS, write_encoder
from tests.integration.models.tiny_decoder import Decoder, random_weights
from tests.integration.models.writing_folder import write_folder

from llmrouter.inference.importers import run
from llmrouter.inference.models.store import ModelStore

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
HUGE = 400_000_000
"""Floats: 1.6 GB, of graphs with some hundred kilobytes."""
RUNTIME = 192 * MIB
"""What ONNX Runtime, the engine and the tokenizer take themselves, beside so small a model."""
LONG = "ab cd " * 60


def opened(folder: Path, *prompts: str) -> dict[str, Any]:
    """What becomes of a folder and of prompts that are asked at once, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "tests.integration.models.opening_child",
        str(folder),
        *prompts,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert told["growth"] <= told["counted"] + RUNTIME
    return told


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    tiny = Decoder("llama", layers=1, context=1024)
    write_folder(tmp_path / "source", tiny, random_weights(tiny))
    store = ModelStore(tmp_path / "store")
    run.import_checkpoint(tmp_path / "source", "tiny", store, ["fp32"])
    (folder,) = (one for one in store.root.iterdir() if one.is_dir() and one.name[0] != ".")
    (folder / "llmrouter.json").unlink()  # as if others had made it
    return folder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "encoder")


def add(folder: Path, output: str, nodes: Sequence[Any], **weights: np.ndarray) -> None:
    """Put `nodes` into the graph; the scalar `extra` that they make is added to its output."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    graph = model.graph
    last = next(node for node in graph.node if output in node.output)
    last.output[list(last.output).index(output)] = "plain"
    graph.node.extend(nodes)
    graph.node.append(helper.make_node("Add", ["plain", "extra"], [output]))
    graph.initializer.extend(numpy_helper.from_array(one, name) for name, one in weights.items())
    onnx.save(model, folder / "model.onnx")


def swell_always(folder: Path) -> None:
    """Make [N, N] of two vectors and whatever comes."""
    many = np.full((20_000, 1), 1e-9, np.float32)
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["ids"], ["most"], keepdims=0),
        helper.make_node("Mul", ["column", "most"], ["fed"]),
        helper.make_node("Mul", ["fed", "row"], ["square"]),
        helper.make_node("ReduceMax", ["square"], ["extra"], keepdims=0),
    ]
    add(folder, "logits", nodes, column=many, row=many.T)


def swell_with_length(folder: Path) -> None:
    """Make [400,000, tokens]: a step of some tokens fits, one of a long prompt does not."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["column", "ids"], ["block"]),
        helper.make_node("ReduceMax", ["block"], ["extra"], keepdims=0),
    ]
    add(folder, "logits", nodes, column=np.zeros((400_000, 1), np.float32))


def swell_at(folder: Path, word: str) -> None:
    """Make a vector of `HUGE` floats where a text has `word`; with an empty one, always."""
    fed = [helper.make_node("Equal", ["input_ids", "token"], ["hit"])] if word else [
        helper.make_node("GreaterOrEqual", ["input_ids", "token"], ["hit"])
    ]  # fmt: skip
    nodes = [
        *fed,
        helper.make_node("Cast", ["hit"], ["found"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["found"], ["any_found"], keepdims=0),
        helper.make_node("Mul", ["huge", "any_found"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["extra"], keepdims=0),
    ]
    token = np.array(WORDS.index(word) if word else 0)
    add(folder, "last_hidden_state", nodes, huge=np.array([HUGE]), token=token)


def test_a_decoder_that_swells_is_refused_while_loading(decoder: Path) -> None:
    swell_always(decoder)
    told = opened(decoder, "ab")
    assert told["opened"].startswith("MODEL_UNAVAILABLE")
    assert decoder.name in told["opened"]
    assert "inference.workspace_mib" in told["opened"]


def test_a_prompt_that_swells_in_a_decoder_fails_alone(decoder: Path) -> None:
    swell_with_length(decoder)
    told = opened(decoder, "ab", LONG, "cd", LONG, "ab cd")
    assert told["opened"] == "yes"
    short, long = told["answers"][::2], told["answers"][1::2]
    assert short == ["answered"] * 3
    assert all(one.startswith("GENERATION_FAILED") for one in long)
    assert all("inference.workspace_mib" in one for one in long)


def test_an_encoder_that_swells_is_refused_while_loading(encoder: Path) -> None:
    swell_at(encoder, "")
    told = opened(encoder, "red")
    assert told["opened"].startswith("MODEL_UNAVAILABLE")
    assert "model.onnx" in told["opened"]
    assert "inference.workspace_mib" in told["opened"]


def test_a_text_that_swells_in_an_encoder_fails_alone(encoder: Path) -> None:
    swell_at(encoder, "loud")
    told = opened(encoder, "red", "loud", "blue")
    assert told["opened"] == "yes"
    assert told["answers"][::2] == ["answered", "answered"]
    assert told["answers"][1].startswith("GENERATION_FAILED")
    assert "inference.workspace_mib" in told["answers"][1]
