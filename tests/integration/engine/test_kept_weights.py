"""What is kept of weights for later loads is what was imported, or nobody computes with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from tests.integration.engine.test_memory import text_of
from tests.unit.inference.models.test_folder import CARD

from llmrouter import _native
from llmrouter.common.errors import RouterError
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.models.card import write_card
from llmrouter.inference.models.checksum import file_checksums, file_sizes, version_of
from llmrouter.inference.models.opening import Opener

pytestmark = pytest.mark.skipif(
    not _native.detect_processor().avx2, reason="native kernels need a processor with AVX2"
)
WEIGHTS = "model.onnx.data"


@pytest.fixture
def imported(external_folder: Path, tmp_path: Path) -> Path:
    """The tiny model in a store, with the card that an import writes."""
    folder = tmp_path / "tiny"
    shutil.copytree(external_folder, folder)
    found = file_checksums(folder)
    card = replace(CARD, version=version_of(found), files=file_sizes(folder), checksums=found)
    write_card(card, folder)
    return folder


def kept_below(store: Path) -> list[Path]:
    return [one for one in (store / ".packed").rglob("*") if one.is_file()]


async def answer(folder: Path, *, keep: bool = True) -> str:
    kept = folder.parent / ".packed" if keep else None
    options = BackendOptions(threads=2, slots=2, kernels="native", shared_weights=kept)
    model = await Opener(OnnxRuntimeBackend, options).open(folder)
    assert isinstance(model.backend, OnnxRuntimeBackend)
    try:
        return await text_of(model.backend)
    finally:
        await model.backend.close()


def overwrite_a_third(file: Path) -> None:
    """Change contents; size, times and inode stay, as where a disk fails."""
    before = file.stat()
    with file.open("r+b") as stream:
        stream.seek(before.st_size // 3)
        stream.write(bytes(before.st_size // 3))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


async def test_nothing_is_kept_of_a_damaged_folder(imported: Path) -> None:
    right = await answer(imported, keep=False)
    weights = imported / WEIGHTS
    whole, before = weights.read_bytes(), weights.stat()
    overwrite_a_third(weights)
    with pytest.raises(RouterError, match=f"{WEIGHTS}: is damaged"):
        await answer(imported)
    assert kept_below(imported.parent) == []
    with weights.open("r+b") as stream:
        stream.write(whole)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await answer(imported) == right
    assert len(kept_below(imported.parent)) == 1


async def test_damage_to_what_is_kept_is_found_by_the_next_load_and_mended(imported: Path) -> None:
    right = await answer(imported)
    [kept] = kept_below(imported.parent)
    whole = kept.read_bytes()
    with structlog.testing.capture_logs() as logs:
        assert await answer(imported) == right
    assert not logs, "and not written again"
    overwrite_a_third(kept)
    assert kept.read_bytes() != whole
    with structlog.testing.capture_logs() as logs:
        assert await answer(imported) == right
    assert [log["file"] for log in logs] == [str(kept)]
    assert kept.read_bytes() == whole


async def test_a_folder_in_place_of_what_is_kept_is_told_and_mended(imported: Path) -> None:
    right = await answer(imported)
    [kept] = kept_below(imported.parent)
    whole = kept.read_bytes()
    kept.unlink()
    (kept / "inner").mkdir(parents=True)
    with structlog.testing.capture_logs() as logs:
        assert await answer(imported) == right
    assert [log["event"] for log in logs] == ["shared weights were damaged and are written anew"]
    assert kept.read_bytes() == whole


async def test_what_is_kept_is_not_told_to_be_mended_where_nothing_can_be_written(
    imported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = await answer(imported)
    [kept] = kept_below(imported.parent)
    overwrite_a_third(kept)
    monkeypatch.setattr(_native, "write_shared_weights", lambda path, matrices: None)
    with structlog.testing.capture_logs() as logs:
        assert await answer(imported) == right
    assert [log["event"] for log in logs] == ["shared weights are damaged and cannot be written"]


async def test_what_another_gives_meanwhile_is_not_told_to_be_damaged(
    imported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = await answer(imported)
    [kept] = kept_below(imported.parent)
    aside = kept.rename(imported.parent / "aside")
    find = _native.find_shared_weights

    def late(path: str, matrices: Sequence[_native.NativeMatrix]) -> _native.SharedWeights | None:
        found = find(path, matrices)
        aside.rename(kept)
        return found

    monkeypatch.setattr(_native, "find_shared_weights", late)
    with structlog.testing.capture_logs() as logs:
        assert await answer(imported) == right
    assert logs == []


def test_weights_of_another_model_are_refused(external_folder: Path, tmp_path: Path) -> None:
    matrix = _native.NativeMatrix()
    matrix.file = str(external_folder / WEIGHTS)
    matrix.columns, matrix.depth, matrix.zero_points_offset = 16, 32, -1
    other = _native.write_shared_weights(str(tmp_path / "other"), [matrix])
    assert other is not None
    model = _native.OrtModel()
    model.path = str(external_folder / "model.onnx")
    model.graph = Path(model.path).read_bytes()
    model.vocabulary = model.layers = model.kv_heads = model.head_size = 1
    matrix.columns = 32
    model.matrices = [matrix]
    model.shared_weights = other
    with pytest.raises(_native.EngineError, match="those of another model"):
        _native.load_ort_decoder(model, slots=1, context=16)
