"""Whether a folder still holds what was imported, byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.inference.models.test_folder import CARD
from tests.unit.inference.models.tiny_folder import write_tiny_folder

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.card import write_card
from llmrouter.inference.models.checksum import file_checksums, file_sizes, version_of
from llmrouter.inference.models.integrity import check_contents, fault_in, loaded_whole

FILE = "tokenizer.json"


def imported(folder: Path, *, checksums: bool = True) -> Path:
    """Write a folder with the card that an import writes, or one wrote before checksums."""
    write_tiny_folder(folder)
    found = file_checksums(folder)
    card = replace(CARD, version=version_of(found), files=file_sizes(folder))
    write_card(replace(card, checksums=found if checksums else {}), folder)
    return folder


def damage(file: Path) -> None:
    """Flip one bit in the middle; the size stays."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_folder_as_it_was_imported_is_whole(tmp_path: Path) -> None:
    folder = imported(tmp_path / "a")
    (folder / "notes.txt").write_text("added by its owner")
    assert check_contents(folder) == len(file_sizes(folder)) - 2
    assert fault_in(folder) is None


def test_a_file_damaged_at_equal_size_is_told_by_name_with_the_remedy(tmp_path: Path) -> None:
    folder = imported(tmp_path / "a")
    damage(folder / FILE)
    with pytest.raises(RouterError, match=rf"{FILE}: is damaged.*pull or import") as raised:
        check_contents(folder)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert fault_in(folder) == raised.value.message


def test_a_folder_imported_before_checksums_is_held_against_its_version(tmp_path: Path) -> None:
    folder = imported(tmp_path / "a", checksums=False)
    assert fault_in(folder) is None
    damage(folder / FILE)
    assert "a file is damaged" in str(fault_in(folder))


def test_folders_of_which_nothing_was_recorded_stay_usable(tmp_path: Path) -> None:
    bare, old = write_tiny_folder(tmp_path / "bare"), write_tiny_folder(tmp_path / "old")
    write_card(CARD, old)
    assert [check_contents(bare), check_contents(old)] == [0, 0]
    assert fault_in(old) is None


def test_a_card_whose_checksums_are_of_other_files_is_refused(tmp_path: Path) -> None:
    folder = imported(tmp_path / "a")
    content = json.loads((folder / "llmrouter.json").read_text())
    del content["checksums"][FILE]
    (folder / "llmrouter.json").write_text(json.dumps(content))
    assert "checksums must name the same files" in str(fault_in(folder))


async def test_damage_is_told_rather_than_what_loading_made_of_it(tmp_path: Path) -> None:
    async def load(*, works: bool) -> str:
        if not works:
            raise ValueError("no protobuf")
        return "loaded"

    folder = imported(tmp_path / "a")
    assert await loaded_whole(folder, load(works=True)) == "loaded"
    with pytest.raises(ValueError, match="no protobuf"):
        await loaded_whole(folder, load(works=False))
    damage(folder / FILE)
    for works in (True, False):
        with pytest.raises(RouterError, match="is damaged"):
            await loaded_whole(folder, load(works=works))
