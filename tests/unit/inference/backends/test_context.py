"""A context is as long as the folder, its graph and the settings allow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from structlog.testing import capture_logs
from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.context import choose_context, rotary_positions
from llmrouter.inference.models.folder import ModelFolder, read_folder


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return read_folder(write_tiny_folder(tmp_path / "tiny", TinyShape(context=96)))


def test_a_folder_whose_graph_has_an_angle_for_every_position_holds_what_it_says(
    folder: ModelFolder,
) -> None:
    assert rotary_positions(folder.model_file) == 96
    with capture_logs() as told:
        assert choose_context(folder, BackendOptions()) == 96
    assert told == []
    assert choose_context(folder, BackendOptions(context=7)) == 7


def test_a_folder_that_promises_more_than_its_graph_has_angles_for_holds_those(
    folder: ModelFolder,
) -> None:
    boasting = replace(folder, context_length=8192)
    with capture_logs() as told:
        assert choose_context(boasting, BackendOptions()) == 96
    assert [(one["log_level"], one["positions"], one["said"]) for one in told] == [
        ("warning", 96, 8192)
    ]
    with pytest.raises(RouterError, match="97 is more than the 96 tokens") as refused:
        choose_context(boasting, BackendOptions(context=97))
    assert refused.value.reason is Reason.INVALID_ARGUMENT


def test_where_a_graph_holds_no_angles_the_folder_is_believed(folder: ModelFolder) -> None:
    model = onnx.load(folder.model_file)
    for node in model.graph.node:
        if node.op_type == "GroupQueryAttention":
            del node.input[7:]
    onnx.save(model, folder.model_file)
    assert rotary_positions(folder.model_file) is None
    folder.model_file.write_bytes(b"none")
    assert rotary_positions(folder.model_file) is None
    assert choose_context(folder, BackendOptions()) == 96
