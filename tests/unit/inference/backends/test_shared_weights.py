from __future__ import annotations

import os
from pathlib import Path

from llmrouter.inference.backends.native_graph import MatrixPlace
from llmrouter.inference.backends.shared_weights import SharedWeights


def place(file: Path, columns: int = 32) -> MatrixPlace:
    return MatrixPlace(file, columns, 64, 8, 0, 4096, None)


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
    being_written, given_up = kept.with_name("other.17.new"), kept.with_name("other.18.new")
    being_written.write_bytes(b"")
    given_up.write_bytes(b"")
    os.utime(given_up, (1, 1))
    shared.forget_others(kept)
    left = sorted(one for one in (tmp_path / ".packed").rglob("*") if one.is_file())
    assert left == sorted([kept, being_written])


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
