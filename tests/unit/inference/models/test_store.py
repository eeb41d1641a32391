from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.locks import lock
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


SOURCE, OTHER = "a" * 64, "b" * 64
WEIGHTS = "weights"


class Killed(BaseException):
    """What stands for the end of a process."""


def begin(store: ModelStore, name: str, source: str = SOURCE) -> None:
    """Begin a model and be interrupted."""
    with contextlib.suppress(Killed), store.resuming(name, source, WEIGHTS) as partial:
        (partial.folder / "genai_config.json").write_text("half")
        (partial.folder / WEIGHTS).write_text("half")
        partial.journal.write_text("noted")
        raise Killed


def finish(store: ModelStore, name: str, source: str = SOURCE) -> tuple[list[str], bool]:
    """Finish a model; return what was there of it, and whether it was noted."""
    with store.resuming(name, source, WEIGHTS) as partial:
        there = [one.name for one in partial.folder.iterdir()]
        noted = partial.journal.exists()
        (partial.folder / "genai_config.json").write_text("{}")
    return there, noted


def test_what_an_interruption_leaves_is_given_to_the_next_and_then_gone(store: ModelStore) -> None:
    begin(store, "a")
    assert store.names() == []
    assert finish(store, "a") == ([WEIGHTS], True)
    assert everything(store) == ["a"]
    assert finish(store, "a") == ([], False)


def test_an_error_leaves_nothing_of_what_was_begun(store: ModelStore) -> None:
    begin(store, "a")
    with pytest.raises(ZeroDivisionError), store.resuming("a", SOURCE, WEIGHTS):
        raise ZeroDivisionError
    assert everything(store) == []
    with pytest.raises(RouterError, match="is full"), store.resuming("a", SOURCE, WEIGHTS):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert everything(store) == []


def test_a_model_of_another_source_clears_what_others_left(store: ModelStore) -> None:
    begin(store, "a")
    begin(store, "b")
    assert len(everything(store)) == 2, "one source may become several models"
    begin(store, "a", OTHER)
    assert len(everything(store)) == 1
    assert finish(store, "a") == ([], False)


def test_clearing_spares_what_somebody_works_on(store: ModelStore) -> None:
    begin(store, "b")
    with store.resuming("a", SOURCE, WEIGHTS) as partial:
        store.clear_partials()
        assert finish(store, "c", OTHER) == ([], False)
        assert partial.folder.exists()
        (partial.folder / "genai_config.json").write_text("{}")
    assert everything(store) == ["a", "c"]


def test_who_makes_the_same_meanwhile_does_so_elsewhere(store: ModelStore) -> None:
    begin(store, "a")
    with store.resuming("a", SOURCE, WEIGHTS) as partial:
        assert partial.alone
        assert finish(store, "a") == ([], False)
        (partial.folder / "genai_config.json").write_text("later")
    assert everything(store) == ["a"]
    assert (store.path("a") / "genai_config.json").read_text() == "later"


def test_what_nobody_has_touched_for_a_week_is_removed_by_the_next_start(store: ModelStore) -> None:
    begin(store, "a")
    [place] = store.root.iterdir()
    for one in (*place.iterdir(), place):
        os.utime(one, (0, time.time() - 7 * 86_400 + 60))
    store.recover()
    assert everything(store) == [place.name]
    for one in (*place.iterdir(), place):
        os.utime(one, (0, time.time() - 7 * 86_400 - 60))
    store.recover()
    assert everything(store) == []


def test_what_is_not_installed_is_gone_on_leaving(store: ModelStore) -> None:
    with store.resuming("reference", SOURCE, WEIGHTS, install=False) as partial:
        assert store.staged(partial.folder / "onnx/model.onnx") == Path("onnx/model.onnx")
    assert everything(store) == []


def place_of(store: ModelStore) -> Path:
    """Return the place that is known beforehand to be used for the model `a`."""
    begin(store, "a")
    [place] = store.root.iterdir()
    return place


def test_whatever_else_was_left_in_the_folder_is_removed(store: ModelStore) -> None:
    place = place_of(store)
    (place / "stray").write_text("x")
    (place / "model/sub").mkdir()
    (place / "model/sub/stray").write_text("x")
    (place / "model/.llmrouter.json.part").write_text("{")
    assert finish(store, "a") == ([WEIGHTS], True)
    assert sorted(one.name for one in store.path("a").iterdir()) == ["genai_config.json", WEIGHTS]


@pytest.mark.parametrize("inner", ["journal", f"model/{WEIGHTS}"])
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_what_is_no_file_of_its_own_is_not_written_to(
    store: ModelStore, inner: str, kind: str
) -> None:
    place, victim = place_of(store), store.root.parent / "victim"
    victim.write_text("precious")
    (place / inner).unlink()
    make = {
        "link": lambda file: file.symlink_to(victim),
        "hard link": lambda file: file.hardlink_to(victim),
        "pipe": os.mkfifo,
        "folder": Path.mkdir,
    }[kind]
    make(place / inner)
    there, noted = finish(store, "a")
    assert (there, noted) == (([WEIGHTS], False) if inner == "journal" else ([], True))
    assert victim.read_text() == "precious"
    assert everything(store) == ["a"]


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_folder_that_is_none_is_made_anew(store: ModelStore, kind: str) -> None:
    place, outside = place_of(store), store.root.parent / "outside"
    shutil.move(place / "model", outside)
    if kind == "link":
        (place / "model").symlink_to(outside)
    else:
        (place / "model").write_text("x")
    assert finish(store, "a") == ([], True)
    assert not store.path("a").is_symlink()
    assert (outside / "genai_config.json").read_text() == "half"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_place_that_is_no_folder_is_made_anew(store: ModelStore, kind: str) -> None:
    place, outside = place_of(store), store.root.parent / "outside"
    shutil.move(place, outside)
    if kind == "link":
        place.symlink_to(outside)
    else:
        place.write_text("x")
    assert finish(store, "a") == ([], False)
    assert (outside / "journal").read_text() == "noted"
    assert everything(store) == ["a"]


def test_a_link_that_another_source_left_is_removed(store: ModelStore) -> None:
    place, outside = place_of(store), store.root.parent / "outside"
    shutil.move(place, outside)
    place.symlink_to(outside)
    begin(store, "a", OTHER)
    assert not place.is_symlink()
    assert (outside / "journal").exists()


def test_the_folder_of_another_user_is_not_taken(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(store)
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with store.resuming("a", SOURCE, WEIGHTS) as partial:
        assert partial.folder.parent != place
        assert list(partial.folder.iterdir()) == []
        (partial.folder / "genai_config.json").write_text("{}")
    assert (place / "journal").read_text() == "noted"


def test_nobody_else_may_change_what_is_on_its_way(store: ModelStore) -> None:
    place = place_of(store)
    for one in (place, place / "model"):
        one.chmod(0o777)
    with store.resuming("a", SOURCE, WEIGHTS) as partial:
        assert [one.stat().st_mode & 0o777 for one in (place, partial.folder)] == [0o700, 0o700]
        (partial.folder / "genai_config.json").write_text("{}")
    assert store.path("a").stat().st_mode & 0o777 == 0o755


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
