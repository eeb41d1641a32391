"""Downloads from a server on this machine that breaks, lies and stalls on purpose."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.download import Download, fetch
from llmrouter.inference.models.progress import silent

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `cuts` says after how many bytes each next answer breaks off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.ranges: list[str | None] = []
        self.resumes = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(self.server.content) and asked:
            self.send_error(416)
            return
        start = start if self.server.resumes else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(self.server.content[start:][:cut])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "file.bin"


def wanted(url: str, **changes: Any) -> Download:
    return Download(url, SHA256, pause=lambda _: None, **changes)


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
    with pytest.raises(RouterError, match="no connection"):
        fetch(wanted(server.url, attempts=2), target, silent)


def test_local_files_are_fetched_too(tmp_path: Path, target: Path) -> None:
    (tmp_path / "source.bin").write_bytes(CONTENT)
    fetch(wanted((tmp_path / "source.bin").as_uri()), target, silent)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/file", "data:,hello", "file.bin", ""])
def test_other_kinds_of_address_are_refused(target: Path, url: str) -> None:
    with pytest.raises(RouterError, match="only https, http and file"):
        fetch(wanted(url), target, silent)
