"""What is measured is opened as a service opens it, and nothing else is computed with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.inference.models.fake_backend import FakeBackends, put
from tests.unit.inference.models.test_graph_check import endless
from tests.unit.inference.models.test_integrity import damage, imported

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models import speed
from llmrouter.inference.models.progress import silent
from llmrouter.inference.settings import InferenceSettings


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> FakeBackends:
    found = FakeBackends()
    monkeypatch.setattr(speed, "find_backend", lambda _: found)
    return found


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
