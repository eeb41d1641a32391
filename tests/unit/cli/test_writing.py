"""What a command writes into a file is there whole, or the file is as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.little_room import little_room

from llmrouter.cli.writing import whole_file
from llmrouter.common.settings import ConfigError


def test_a_file_that_does_not_fit_leaves_what_was_there(tmp_path):
    path = tmp_path / "choices.jsonl"
    path.write_text("dear to somebody")
    with (
        pytest.raises(ConfigError, match=f"{path} cannot be written: "),
        little_room(4096),
        whole_file(path) as file,
    ):
        file.write("x" * 100_000)
    assert path.read_text() == "dear to somebody"
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_what_fails_before_the_end_leaves_no_file(tmp_path):
    def write():
        with whole_file(tmp_path / "a") as file:
            file.write("begun")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert not list(tmp_path.iterdir())


def test_a_whole_file_takes_the_place_of_the_one_before_also_behind_a_link(tmp_path):
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("before")
    link.symlink_to(path)
    with whole_file(link) as file:
        file.write("after\n")
    assert (path.read_bytes(), link.is_symlink()) == (b"after\n", True)


def test_a_device_is_written_to_and_not_replaced():
    with whole_file(Path("/dev/null")) as file:
        file.write("gone")
    assert Path("/dev/null").is_char_device()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none" / "a"
    with (
        pytest.raises(ConfigError, match="none/a cannot be written: No such file"),
        whole_file(path),
    ):
        pass
