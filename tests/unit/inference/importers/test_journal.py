"""A file of weights goes on behind what is whole, and never with what is not as it was noted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from llmrouter.inference.importers.journal import Journal
from llmrouter.inference.importers.weights import WeightFile

MADE_OF = {"source": "a" * 64, "precision": "int8"}
TENSORS = {
    name: np.arange(start, start + 3000, dtype=np.float32).reshape(30, 100)
    for name, start in (("first", 0), ("second", 5000), ("third", 9000))
}


class CutShortError(Exception):
    """What stands for a kill."""


def write(
    place: Path, until: int = 10**9, made_of: dict[str, str] = MADE_OF
) -> tuple[bytes, list[str]]:
    """Write all tensors in pieces, at most `until` of them; return the file and what was made."""
    data = WeightFile(place / "data", Journal(place / "journal", made_of))
    made: list[str] = []
    pieces = 0
    try:
        for name, array in TENSORS.items():
            region = data.reserve(name, np.float32, array.shape)
            if region.whole:
                continue
            made.append(name)
            for start in (0, 10, 20):
                if pieces == until:
                    raise CutShortError
                region.append(array[start : start + 10])
                pieces += 1
        data.end()
    finally:
        data.close()
    return (place / "data").read_bytes(), made


def cut_short(place: Path, until: int) -> None:
    place.mkdir(exist_ok=True)
    with pytest.raises(CutShortError):
        write(place, until)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    (tmp_path / "whole").mkdir()
    return write(tmp_path / "whole")[0]


@pytest.mark.parametrize(
    ("until", "left"),
    [
        (0, ["first", "second", "third"]),
        (2, ["first", "second", "third"]),
        (3, ["second", "third"]),
        (5, ["second", "third"]),
        (8, ["third"]),
    ],
)
def test_tensors_that_are_whole_are_not_made_again(
    tmp_path: Path, whole: bytes, until: int, left: list[str]
) -> None:
    cut_short(tmp_path / "cut", until)
    assert write(tmp_path / "cut") == (whole, left)
    assert write(tmp_path / "cut") == (whole, []), "all of it is whole by now"


def test_being_cut_short_again_and_again_goes_on_each_time(tmp_path: Path, whole: bytes) -> None:
    for until in (4, 3, 1):
        cut_short(tmp_path / "cut", until)
    assert write(tmp_path / "cut") == (whole, ["third"])


def test_another_source_or_option_begins_anew(tmp_path: Path, whole: bytes) -> None:
    cut_short(tmp_path / "cut", 7)
    other = MADE_OF | {"precision": "int4"}
    assert write(tmp_path / "cut", made_of=other) == (whole, list(TENSORS))
    assert write(tmp_path / "cut") == (whole, list(TENSORS)), "nor is there a way back"


@pytest.mark.parametrize("at", [0, 11_999, 12_100, 12_288, 20_000])
def test_a_byte_that_differs_begins_anew(tmp_path: Path, whole: bytes, at: int) -> None:
    cut_short(tmp_path / "cut", 7)
    damaged = bytearray((tmp_path / "cut/data").read_bytes())
    damaged[at] ^= 1
    (tmp_path / "cut/data").write_bytes(damaged)
    assert write(tmp_path / "cut") == (whole, list(TENSORS))


@pytest.mark.parametrize("size", [0, 12_000, 24_287])
def test_a_file_that_has_lost_its_end_begins_anew(tmp_path: Path, whole: bytes, size: int) -> None:
    cut_short(tmp_path / "cut", 7)
    (tmp_path / "cut/data").write_bytes((tmp_path / "cut/data").read_bytes()[:size])
    assert write(tmp_path / "cut") == (whole, list(TENSORS))


def _without(lines: list[str], at: int) -> list[str]:
    return lines[:at] + lines[at + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [],
        lambda lines: _without(lines, 0),
        lambda lines: _without(lines, 1),
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], *reversed(lines[1:])],
        lambda lines: [*lines[:2], "[1, 2]\n"],
        lambda lines: [*lines[:2], lines[2].replace("12288", "-1")],
        lambda lines: [*lines[:2], lines[2].replace("12000", "-300")],
        lambda lines: [*lines[:2], lines[2].replace("12000", "12000.0")],
        lambda lines: [*lines[:2], "[" * 100_000 + "\n"],
        lambda lines: [*lines, "\udcff\n"],
    ],
)
def test_a_journal_that_makes_no_sense_begins_anew(
    tmp_path: Path, whole: bytes, change: object
) -> None:
    cut_short(tmp_path / "cut", 7)
    journal = tmp_path / "cut/journal"
    lines = journal.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    journal.write_bytes("".join(change(lines)).encode(errors="surrogateescape"))  # type: ignore[operator]
    assert write(tmp_path / "cut") == (whole, list(TENSORS))


def test_a_line_that_was_cut_short_is_no_tensor(tmp_path: Path, whole: bytes) -> None:
    cut_short(tmp_path / "cut", 7)
    journal = tmp_path / "cut/journal"
    journal.write_text(journal.read_text()[:-5])
    assert write(tmp_path / "cut") == (whole, ["second", "third"])


def test_what_lies_behind_the_last_tensor_is_cut_off(tmp_path: Path, whole: bytes) -> None:
    cut_short(tmp_path / "cut", 7)
    with (tmp_path / "cut/data").open("ab") as stream:
        stream.write(b"x" * 100_000)
    assert write(tmp_path / "cut") == (whole, ["third"])


def test_a_tensor_in_another_place_is_made_again(tmp_path: Path) -> None:
    """Whatever the same source became before, the same names may lie elsewhere."""
    journal = Journal(tmp_path / "journal", MADE_OF)
    first = WeightFile(tmp_path / "data", journal)
    first.reserve("one", np.uint8, (10,)).append(_bytes(10))
    first.close()
    again = WeightFile(tmp_path / "data", journal)
    assert again.reserve("one", np.uint8, (10,)).whole
    assert not again.reserve("other", np.uint8, (10,)).whole
    again.close()
    other = WeightFile(tmp_path / "data", journal)
    assert not other.reserve("one", np.uint8, (11,)).whole
    other.close()


def _bytes(count: int) -> npt.NDArray[np.uint8]:
    return np.arange(count, dtype=np.uint8)


def test_what_a_journal_tells_of_beyond_the_last_tensor_is_cut_off(
    tmp_path: Path, whole: bytes
) -> None:
    assert write(tmp_path / "whole")[1] == []
    data = WeightFile(tmp_path / "whole/data", Journal(tmp_path / "whole/journal", MADE_OF))
    for name, array in TENSORS.items():
        data.reserve(name, np.float32, array.shape)
    data.reserve("ghost", np.uint8, (500,)).append(np.ones(500, np.uint8))
    data.close()
    assert len((tmp_path / "whole/data").read_bytes()) > len(whole)
    assert write(tmp_path / "whole") == (whole, [])


def test_being_cut_short_before_what_is_whole_keeps_it(tmp_path: Path, whole: bytes) -> None:
    cut_short(tmp_path / "cut", 7)
    data = WeightFile(tmp_path / "cut/data", Journal(tmp_path / "cut/journal", MADE_OF))
    data.reserve("first", np.float32, TENSORS["first"].shape)
    data.close()
    assert write(tmp_path / "cut") == (whole, ["third"])


@pytest.mark.parametrize("name", ["data", "journal"])
def test_a_link_is_never_written_through(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / name).symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        write(tmp_path)
    assert (tmp_path / "victim").read_text() == "precious"
