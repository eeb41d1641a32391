"""Precisions are published one by one, and weights pass through in pieces."""

from __future__ import annotations

import errno
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.models.tiny_decoder import DECODERS, random_weights
from tests.integration.models.writing_folder import write_folder
from tests.unit.inference.importers.tiny_gguf import write_tiny_gguf
from tests.unit.inference.models.test_integrity import damage

from llmrouter.common.errors import RouterError
from llmrouter.inference.importers import conversion
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.gguf import GgufCheckpoint
from llmrouter.inference.importers.huggingface import HuggingFaceImporter
from llmrouter.inference.importers.journal import Journal
from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.integrity import check_contents
from llmrouter.inference.models.kinds import Kind, kind_of
from llmrouter.inference.models.progress import Progress, silent
from llmrouter.inference.models.store import ModelStore


def test_what_was_finished_before_an_interruption_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf")
    store = ModelStore(tmp_path / "store")
    whole = GgufCheckpoint.resume

    def full(
        self: GgufCheckpoint, target: Path, precision: str, progress: Progress, journal: Journal
    ) -> Converted:
        if precision == "int4":
            (target / "half").write_bytes(b"written")
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, target, precision, progress, journal)

    monkeypatch.setattr(GgufCheckpoint, "resume", full)
    with pytest.raises(RouterError, match="is full"):
        import_checkpoint(tmp_path / "tiny.gguf", "tiny", store)
    assert store.names() == ["tiny-fp32", "tiny-int8"]
    assert {path.name for path in store.root.iterdir()} == {"tiny-fp32", "tiny-int8"}
    before = store.folder("tiny-int8").version
    converted = []

    def noted(
        self: GgufCheckpoint, target: Path, precision: str, progress: Progress, journal: Journal
    ) -> Converted:
        converted.append(precision)
        return whole(self, target, precision, progress, journal)

    monkeypatch.setattr(GgufCheckpoint, "resume", noted)
    again = import_checkpoint(tmp_path / "tiny.gguf", "tiny", store)
    assert converted == ["int4"], "the next try goes on behind what was finished"
    assert store.model("tiny-int4").card.quality.reference_perplexity == pytest.approx(
        store.model("tiny-fp32").card.quality.perplexity
    )
    assert [one.path.name for one in again] == ["tiny-int8", "tiny-int4", "tiny-fp32"]
    assert store.folder("tiny-int8").version == before


def test_another_file_another_version_or_damage_is_imported_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, store = tmp_path / "tiny.gguf", ModelStore(tmp_path / "store")

    def version(seed: int = 5) -> str:
        write_tiny_gguf(file, seed=seed)
        return import_checkpoint(file, "tiny", store, ["int8"])[0].version

    first = version()
    damage(store.path("tiny-int8") / "tokenizer.json")
    assert version() == first
    check_contents(store.path("tiny-int8"))
    assert version(seed=6) != first
    assert version() == first
    monkeypatch.setattr(conversion, "version", lambda _: "another")
    assert version() == first
    assert store.model("tiny-int8").card.importer == "GgufCheckpoint another"


def test_another_importer_of_the_same_file_imports_it_anew(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2", reason="needs the extra `ctranslate2`")
    file, store = tmp_path / "tiny.gguf", ModelStore(tmp_path / "store")
    write_tiny_gguf(file)
    for importer, kind in (("gguf", Kind.GENAI), ("gguf-ctranslate2", Kind.CTRANSLATE2)):
        import_checkpoint(file, "tiny", store, ["int8"], importer=importer)
        assert kind_of(store.path("tiny-int8")) is kind


@pytest.mark.parametrize("precision", ["int8", "int4", "fp32"])
def test_no_tensor_is_held_whole(tmp_path: Path, precision: str) -> None:
    """The vocabulary's matrix has 100 MB as float32, the largest of a layer a quarter of one."""
    decoder = replace(
        DECODERS["llama"], vocabulary=100_000, hidden=256, head_size=64, feed_forward=256, layers=1
    )
    write_folder(tmp_path / "folder", decoder, random_weights(decoder), "BF16")
    checkpoint = HuggingFaceImporter.open(tmp_path / "folder")
    (tmp_path / "made").mkdir()
    tracemalloc.start()
    try:
        checkpoint.convert(tmp_path / "made", precision, silent)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 48 * 2**20
