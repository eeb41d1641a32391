from __future__ import annotations

import fcntl
import os
from pathlib import Path

from llmrouter.inference.backends.native_graph import MatrixPlace
from llmrouter.inference.backends.shared_weights import SharedWeights


def place(file: Path, columns: int = 32) -> MatrixPlace:
    return MatrixPlace(file, columns, 64, 8, 0, 4096, None)


def below(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if not one.is_dir() or one.is_symlink())


def weights(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.onnx.data"
    file.write_bytes(b"weights")
    return file


def test_the_file_is_named_by_what_it_is_made_of(tmp_path: Path) -> None:
    file, shared = weights(tmp_path / "m"), SharedWeights(tmp_path / ".packed")
    first = shared.file(tmp_path / "m", "1a", [place(file)])
    assert first is not None
    assert first.parent == tmp_path / ".packed" / "m"
    assert shared.file(tmp_path / "m", "1a", [place(file)]) == first
    assert shared.file(tmp_path / "m", "1a", [place(file, columns=48)]) != first
    assert shared.file(tmp_path / "m", "2b", [place(file)]) != first
    os.utime(file, ns=(1, 1))
    assert shared.file(tmp_path / "m", "1a", [place(file)]) != first, "imported again"
    assert shared.file(tmp_path / "m", "1a", []) is None


def test_what_earlier_imports_and_removed_models_left_goes(tmp_path: Path) -> None:
    file, shared = weights(tmp_path / "m"), SharedWeights(tmp_path / ".packed")
    kept = shared.file(tmp_path / "m", "1a", [place(file)])
    assert kept is not None
    shared.forget_others(kept)  # nothing is there yet
    for made in (kept, kept.with_name("older"), tmp_path / ".packed/gone/one"):
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes(b"packed")
    shared.forget_others(kept)
    assert below(tmp_path / ".packed") == [kept]


def test_what_nobody_writes_any_more_goes_and_what_somebody_writes_stays(tmp_path: Path) -> None:
    kept = tmp_path / "store/.packed/m/1a"
    kept.parent.mkdir(parents=True)
    (tmp_path / "store/m").mkdir()
    being_written, given_up = kept.with_name("1a.17.new"), kept.with_name("1a.18.new")
    being_written.write_bytes(b"half")
    given_up.write_bytes(b"half")
    with being_written.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        SharedWeights(kept.parent.parent).forget_others(kept)
        assert below(kept.parent) == [being_written]
    SharedWeights(kept.parent.parent).forget_others(kept)
    assert below(kept.parent) == []


def test_whatever_else_lies_there_goes_and_what_links_lead_to_stays(tmp_path: Path) -> None:
    kept, elsewhere = tmp_path / "store/.packed/m/1a", weights(tmp_path / "elsewhere")
    (tmp_path / "store/m").mkdir(parents=True)
    (kept.with_name("folder") / "inner").mkdir(parents=True)
    kept.with_name("folder.new").mkdir()
    kept.with_name("link").symlink_to(elsewhere.parent)
    kept.with_name("zz older").write_bytes(b"packed")
    SharedWeights(kept.parent.parent).forget_others(kept)
    assert list(kept.parent.iterdir()) == []
    assert elsewhere.exists()


def test_all_who_reach_a_store_by_another_way_share(tmp_path: Path) -> None:
    """As containers do that mount one volume at several places."""

    def name(store: Path) -> str:
        found = SharedWeights(store / ".packed").file(
            store / "m", "1a", [place(store / "m/model.onnx.data")]
        )
        assert found is not None
        return found.name

    weights(tmp_path / "store/m")
    first = name(tmp_path / "store")
    (tmp_path / "mount").symlink_to(tmp_path / "store")
    assert name(tmp_path / "mount") == first
    (tmp_path / "mount").unlink()
    (tmp_path / "store").rename(tmp_path / "mount")
    assert name(tmp_path / "mount") == first


def test_files_of_one_model_are_told_apart(tmp_path: Path) -> None:
    file, shared = weights(tmp_path / "m"), SharedWeights(tmp_path / ".packed")
    linked = file.with_name("other.data")
    linked.hardlink_to(file)
    first = shared.file(tmp_path / "m", "1a", [place(file), place(linked)])
    assert first != shared.file(tmp_path / "m", "1a", [place(linked), place(file)])
