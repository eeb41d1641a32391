from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.locks import lock, locked
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.models.strangers import strangers


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def install(store: ModelStore, name: str, content: str = "{}") -> None:
    with store.installing(name) as folder:
        (folder / "genai_config.json").write_text(content)


def fill_and_fail(store: ModelStore, error: Exception) -> None:
    with store.installing("a") as folder:
        (folder / "genai_config.json").write_text("new")
        raise error


def everything(store: ModelStore) -> list[str]:
    return sorted(path.name for path in store.root.iterdir()) if store.root.exists() else []


def test_an_installed_model_is_listed_and_removed(store: ModelStore) -> None:
    assert store.names() == []
    install(store, "b")
    install(store, "a")
    assert store.names() == ["a", "b"]
    store.remove("a")
    assert everything(store) == ["b"]


def test_a_model_appears_only_when_it_is_whole(store: ModelStore) -> None:
    with store.installing("a") as folder:
        (folder / "genai_config.json").write_text("{}")
        assert store.names() == []
    assert store.names() == ["a"]


def test_a_failed_installation_leaves_nothing(store: ModelStore) -> None:
    with pytest.raises(ZeroDivisionError):
        fill_and_fail(store, ZeroDivisionError())
    assert everything(store) == []


def test_a_failed_replacement_leaves_the_old_model(store: ModelStore) -> None:
    install(store, "a", "old")
    with pytest.raises(ZeroDivisionError):
        fill_and_fail(store, ZeroDivisionError())
    assert (store.path("a") / "genai_config.json").read_text() == "old"
    install(store, "a", "new")
    assert (store.path("a") / "genai_config.json").read_text() == "new"
    assert everything(store) == ["a"]


def test_a_full_disk_is_named_and_leaves_nothing(store: ModelStore) -> None:
    with pytest.raises(RouterError, match=r"is full; free some space") as raised:
        fill_and_fail(store, OSError(errno.ENOSPC, "No space left on device"))
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert everything(store) == []


def test_leftovers_of_a_dead_process_are_removed_and_running_ones_kept(store: ModelStore) -> None:
    dead = store.root / ".importing-a-dead"
    dead.mkdir(parents=True)
    (dead / "model.onnx").write_bytes(b"half")
    with store.installing("a") as running:
        assert not dead.exists()
        (running / "genai_config.json").write_text("{}")
        install(store, "b")
        assert running.exists()
    assert everything(store) == ["a", "b"]


def test_a_model_whose_replacement_broke_off_is_put_back(store: ModelStore) -> None:
    install(store, "a", "old")
    aside = store.root / ".replaced-x"
    aside.mkdir()
    store.path("a").rename(aside / "a")
    install(store, "b")
    assert (store.path("a") / "genai_config.json").read_text() == "old"
    assert everything(store) == ["a", "b"]


def test_a_replacement_that_is_under_way_is_not_put_back(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(store, "a", "old")
    recovering = threading.Thread(target=ModelStore(store.root).recover)
    move_aside = ModelStore._move_aside

    def held(one: ModelStore, target: Path) -> Path:
        aside = move_aside(one, target)
        recovering.start()
        recovering.join(0.2)
        return aside

    monkeypatch.setattr(ModelStore, "_move_aside", held)
    install(store, "a", "new")
    recovering.join()
    assert (store.path("a") / "genai_config.json").read_text() == "new"
    assert everything(store) == ["a"]


def while_locked(store: ModelStore, removing: threading.Thread) -> None:
    """Start to remove, and see that it waits for whoever holds the store's lock."""
    removing.start()
    removing.join(0.2)
    assert removing.is_alive()


def test_a_removal_takes_nothing_from_a_replacement_that_is_under_way(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(store, "a", "old")
    removing = threading.Thread(target=ModelStore(store.root).remove, args=["a"])
    move_aside = ModelStore._move_aside

    def held(one: ModelStore, target: Path) -> Path:
        while_locked(store, removing)
        return move_aside(one, target)

    monkeypatch.setattr(ModelStore, "_move_aside", held)
    install(store, "a", "new")
    removing.join()
    assert everything(store) == []


def test_a_model_that_another_removes_meanwhile_is_unknown(store: ModelStore) -> None:
    install(store, "a")
    told: list[RouterError] = []

    def remove() -> None:
        with pytest.raises(RouterError) as raised:
            store.remove("a")
        told.append(raised.value)

    removing = threading.Thread(target=remove)
    with locked(store.root):
        while_locked(store, removing)
        shutil.rmtree(store.path("a"))
    removing.join()
    assert [one.reason for one in told] == [Reason.UNKNOWN_MODEL]
    assert everything(store) == []


def test_a_store_that_is_not_there_has_nothing_to_recover(store: ModelStore) -> None:
    store.recover()
    assert not store.root.exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", ".a", "A", "a b", "a..b", "a" * 129]
)
def test_names_that_could_leave_the_store(store: ModelStore, name: str) -> None:
    with pytest.raises(RouterError) as raised:
        install(store, name)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
    assert everything(store) == []


def test_an_unknown_model_is_refused_with_those_there_are(store: ModelStore) -> None:
    install(store, "a")
    for ask in (store.folder, store.remove):
        with pytest.raises(RouterError) as raised:
            ask("b")
        assert raised.value.reason is Reason.UNKNOWN_MODEL
    with pytest.raises(RouterError, match="there are: a"):
        store.folder("b")


def test_what_is_half_written_is_known_by_its_place_inside(store: ModelStore) -> None:
    with store.installing("a") as folder:
        assert store.staged(folder / "onnx" / "model.onnx") == Path("onnx/model.onnx")
    assert store.staged(store.path("a") / "model.onnx") is None
    assert store.staged(store.root) is None
    assert store.staged(store.root.parent / "elsewhere") is None


def test_folders_that_are_no_models_are_told_with_what_they_lack(store: ModelStore) -> None:
    assert strangers(store.root) == {}
    install(store, "a")
    (store.root / ".hidden").mkdir()
    (store.root / "aliases.json").write_text("{}")
    (store.root / "half" / "onnx").mkdir(parents=True)
    (store.root / "half" / "model.onnx").write_text("")
    [(name, why)] = strangers(store.root).items()
    assert name == "half"
    assert "has no genai_config.json (onnxruntime-genai)" in why
    assert "import the model again, or move the folder out of the store" in why


def test_folders_whose_names_no_model_may_have_are_told(store: ModelStore) -> None:
    install(store, "a")
    for name in ("a copy", "@x", "Upper", os.fsdecode(b"caf\xe9")):
        shutil.copytree(store.path("a"), store.root / name)
    told = strangers(store.root)
    assert sorted(told) == ["@x", "Upper", "a copy", "caf\N{REPLACEMENT CHARACTER}"]
    assert all("rename the folder" in why for why in told.values())


def test_who_waits_for_the_downloads_of_another_is_told(store: ModelStore) -> None:
    told: list[str] = []
    with store.downloading(told.append) as downloads:
        pass
    assert told == [], "nobody was in the way"
    held = lock(downloads)

    def end_the_other(sentence: str) -> None:
        told.append(sentence)
        os.close(held)

    with store.downloading(end_the_other):
        pass
    waiting = f"another pull or import is under way in {store.root}; waiting until it ends"
    assert told == [waiting]
