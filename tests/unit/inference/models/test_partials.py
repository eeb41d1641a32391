"""Models on their way: what is gone on with, what is removed, and what is never touched."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from llmrouter.common.errors import RouterError
from llmrouter.inference.models.store import ModelStore

SOURCE, OTHER = "a" * 64, "b" * 64
WEIGHTS = "weights"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def everything(store: ModelStore) -> list[str]:
    return sorted(path.name for path in store.root.iterdir())


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
