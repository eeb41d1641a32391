"""What is measured is opened as a service opens it, and nothing else is computed with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.inference.models.fake_backend import FakeBackends, put
from tests.unit.inference.models.test_graph_check import endless
from tests.unit.inference.models.test_integrity import damage, imported

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.model_options import backend_options
from llmrouter.inference.models import speed
from llmrouter.inference.models.progress import silent
from llmrouter.inference.settings import InferenceSettings


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> FakeBackends:
    found = FakeBackends()
    monkeypatch.setattr(speed, "find_backend", lambda _: found)
    return found


async def measured_with(folder: Path, backends: FakeBackends, **settings: Any) -> BackendOptions:
    """Return what a model is opened with; the double is broken, so that it goes no further."""
    backends.broken.add(folder.name)
    with pytest.raises(RouterError, match="is broken"):
        await speed.measure_speed(folder, InferenceSettings(**settings), silent)
    return backends.options[-1]


async def test_a_model_is_measured_with_the_options_that_the_service_runs_it_with(
    tmp_path: Path, backends: FakeBackends
) -> None:
    settings = {
        "cache_type": "float32", "cache_mib": 64, "context": 96, "workspace_mib": 32,
        "batch_padding": 0.5, "slots": 32, "batch_size": 64, "threads": 3,
    }  # fmt: skip
    options = await measured_with(put(tmp_path, "a"), backends, **settings)
    served = backend_options(InferenceSettings(**settings), tmp_path, 0)
    assert options == replace(served, prefix_bytes=0, speculation_tokens=0)


async def test_a_model_is_measured_with_room_for_every_stream(
    tmp_path: Path, backends: FakeBackends
) -> None:
    options = await measured_with(put(tmp_path, "a"), backends, slots=1, batch_size=1)
    assert (options.slots, options.batch_size) == (speed.STREAMS, speed.STREAMS)


async def refusal(folder: Path) -> RouterError:
    with pytest.raises(RouterError) as raised:
        await speed.measure_speed(folder, InferenceSettings(), silent)
    return raised.value


async def test_a_graph_that_would_not_end_is_refused_before_it_is_loaded(
    tmp_path: Path, backends: FakeBackends
) -> None:
    folder = put(tmp_path, "a")
    endless(folder / "model.onnx")
    error = await refusal(folder)
    assert error.reason is Reason.MODEL_UNAVAILABLE
    assert "the operator 'Loop'" in error.message
    assert backends.loads == []


async def test_a_damaged_model_is_not_measured_and_freed(
    tmp_path: Path, backends: FakeBackends
) -> None:
    folder = imported(tmp_path / "a")
    damage(folder / "tokenizer_config.json")
    assert "is damaged" in (await refusal(folder)).message
    assert (backends.loads, backends.open) == (["a"], [])
