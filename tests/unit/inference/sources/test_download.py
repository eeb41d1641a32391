"""Downloads from a server on this machine that breaks, lies and stalls on purpose."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from tests.unit.inference.sources.breaking_server import CONTENT, SHA256, Server, serving

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.sources.base import SourceUnreachableError
from llmrouter.inference.models.sources.download import Download, fetch
from llmrouter.inference.models.sources.web import WebFile


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "file.bin"


def wanted(url: str, **changes: Any) -> Download:
    return Download(WebFile(url), SHA256, pause=lambda _: None, **changes)


def kept(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_arrives_with_progress(server: Server, target: Path) -> None:
    told: list[tuple[str, int, int]] = []
    fetch(wanted(server.url), target, lambda *step: told.append(step))
    assert target.read_bytes() == CONTENT
    assert kept(target) == ["file.bin"]
    assert told[-1] == ("download", len(CONTENT), len(CONTENT))


def test_a_file_that_is_there_is_not_fetched_again(server: Server, target: Path) -> None:
    fetch(wanted(server.url), target, silent)
    fetch(wanted(server.url), target, silent)
    assert server.ranges == [None]


def test_broken_connections_are_resumed(server: Server, target: Path) -> None:
    server.cuts = [1_000_000, 500_000, 7]
    told: list[tuple[int, int]] = []
    fetch(wanted(server.url), target, lambda _, *step: told.append(step))
    assert target.read_bytes() == CONTENT
    assert {total for _, total in told} == {len(CONTENT)}
    assert told == sorted(told)
    assert server.ranges[:2] == [None, "bytes=1000000-"]
    assert len(server.ranges) == 4


def test_a_later_call_goes_on_where_the_first_gave_up(server: Server, target: Path) -> None:
    server.cuts = [1_000_000, 0, 0, 0]
    with pytest.raises(RouterError, match=r"file\.bin\.part") as raised:
        fetch(wanted(server.url, attempts=2), target, silent)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert kept(target) == ["file.bin.part"]
    server.cuts = []
    fetch(wanted(server.url), target, silent)
    assert server.ranges[-1] == "bytes=1000000-"
    assert target.read_bytes() == CONTENT


def test_a_server_that_cannot_resume_sends_everything(server: Server, target: Path) -> None:
    server.cuts, server.resumes = [1_000_000], False
    fetch(wanted(server.url), target, silent)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_complete_is_only_checked(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(CONTENT)
    fetch(wanted(server.url), target, silent)
    assert kept(target) == ["file.bin"]


def test_busy_servers_are_asked_again(server: Server, target: Path) -> None:
    server.statuses = [503, 429]
    fetch(wanted(server.url), target, silent)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 410])
def test_refusals_are_final_and_named(server: Server, target: Path, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(RouterError, match=f"answers {status}"):
        fetch(wanted(server.url), target, silent)
    assert len(server.ranges) == 1


def test_a_wrong_checksum_keeps_nothing(server: Server, target: Path) -> None:
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(RouterError, match="sha256") as raised:
        fetch(wanted(server.url), target, silent)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert kept(target) == []


def test_an_endless_answer_is_cut(server: Server, target: Path) -> None:
    with pytest.raises(RouterError, match="larger than 1000000"):
        fetch(wanted(server.url, largest=1_000_000), target, silent)
    assert kept(target) == []


class FullDisk:
    """A file on a disk that is full after `room` bytes."""

    def __init__(self, path: Path, room: int) -> None:
        self._file, self._room = path.open("ab"), room

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        if len(data) > self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._room -= len(data)
        return self._file.write(data)

    def fileno(self) -> int:
        return self._file.fileno()


def test_a_full_disk_is_named_and_keeps_nothing(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Path.open

    def opened(path: Path, mode: str = "r", **options: Any) -> Any:
        if path.suffix == ".part" and mode in ("wb", "ab"):
            monkeypatch.setattr(Path, "open", right)
            return FullDisk(path, 1_500_000)
        return right(path, mode, **options)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(RouterError, match=r"is full; free some space"):
        fetch(wanted(server.url), target, silent)
    assert kept(target) == []


def test_nobody_at_the_address(target: Path, server: Server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(SourceUnreachableError, match="no connection"):
        fetch(wanted(server.url, attempts=2), target, silent)


def test_files_of_a_local_index_are_fetched_where_that_is_allowed(
    tmp_path: Path, target: Path
) -> None:
    (tmp_path / "source.bin").write_bytes(CONTENT)
    file = WebFile((tmp_path / "source.bin").as_uri(), allowed=lambda _: True)
    fetch(Download(file, SHA256), target, silent)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/file", "data:,hello", "file.bin", "", "file:///etc/passwd",
        "http://models.example/file", "http://127.0.0.1.example/file",
    ],
)  # fmt: skip
def test_other_kinds_of_address_are_refused(target: Path, url: str) -> None:
    with pytest.raises(RouterError, match="only https is fetched"):
        fetch(wanted(url), target, silent)


def test_redirects_are_followed(server: Server, target: Path) -> None:
    server.leads_to = [server.url, server.url]
    fetch(wanted(server.url), target, silent)
    assert target.read_bytes() == CONTENT


def test_redirects_without_end_are_refused(server: Server, target: Path) -> None:
    server.leads_to = [f"{server.url}?{at}" for at in range(100)]
    with pytest.raises(RouterError, match="answers 302"):
        fetch(wanted(server.url), target, silent)
    assert len(server.leads_to) > 90


@pytest.mark.parametrize("elsewhere", ["http://models.example/file", "file:///etc/passwd"])
def test_a_redirect_away_from_https_is_refused(
    server: Server, target: Path, elsewhere: str
) -> None:
    server.leads_to = [elsewhere]
    with pytest.raises(RouterError, match="cannot fetch") as raised:
        fetch(wanted(server.url), target, silent)
    assert not isinstance(raised.value, SourceUnreachableError)
    assert len(server.ranges) == 1


def test_what_may_be_secret_in_an_address_is_never_told(server: Server, target: Path) -> None:
    server.statuses = [403]
    with pytest.raises(RouterError, match=r"127\.0\.0\.1/file\.bin") as raised:
        fetch(wanted(f"{server.url}?signature=hidden"), target, silent)
    assert "hidden" not in str(raised.value)


def test_another_part_than_was_asked_for_is_not_taken(server: Server, target: Path) -> None:
    server.cuts, server.shift = [1_000_000], 5
    told = "asked for bytes from 1000000 on, the server sent 'bytes 1000005-"
    with pytest.raises(RouterError, match=told):
        fetch(wanted(server.url), target, silent)
    assert not target.exists()
