"""Another engine is asked of what may be computed, and of nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf
from tests.unit.inference.models.fake_backend import put
from tests.unit.inference.models.test_graph_check import endless

from llmrouter.common.errors import RouterError
from llmrouter.inference.importers import verification
from llmrouter.inference.models.card import CARD_FILE, Source, read_card, write_card
from llmrouter.inference.models.checksum import file_sha256
from llmrouter.inference.models.store import ModelStore


def test_a_graph_that_would_not_end_is_refused_before_anybody_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "tiny.gguf"
    write_tiny_gguf(checkpoint, Tiny(layers=1))
    folder = put(tmp_path, "a")
    card = read_card(folder / CARD_FILE)
    write_card(replace(card, source=Source("here", file_sha256(checkpoint))), folder)
    endless(folder / "model.onnx")
    monkeypatch.setattr(verification, "write_judgement", lambda *_: pytest.fail("is computed"))
    with pytest.raises(RouterError, match="the operator 'Loop'"):
        verification.verify(["a"], checkpoint, ModelStore(tmp_path))
