"""Files of an S3-compatible object store: moto's, on this machine, through the real s3fs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from moto.server import ThreadedMotoServer
from s3fs.core import S3File

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.sources.base import SourceUnreachableError
from llmrouter.inference.models.sources.download import Download, fetch
from llmrouter.inference.models.sources.object_store import ObjectFile

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
URL = "s3://models/folder/tiny.gguf"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "aVerySecretKey",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    if not system.exists("models"):
        system.mkdir("models")
    system.pipe_file(URL, CONTENT)
    return endpoint


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "tiny.gguf"


def wanted(url: str = URL, sha256: str = SHA256, attempts: int = 2) -> Download:
    return Download(ObjectFile(url), sha256, attempts=attempts, pause=lambda _: None)


def refusal(download: Download, target: Path) -> RouterError:
    with pytest.raises(RouterError) as raised:
        fetch(download, target, silent)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert "aVerySecretKey" not in str(raised.value)
    return raised.value


def test_an_object_arrives_with_progress(store: str, target: Path) -> None:
    told: list[tuple[str, int, int]] = []
    fetch(wanted(), target, lambda *step: told.append(step))
    assert target.read_bytes() == CONTENT
    assert told[-1] == ("download", len(CONTENT), len(CONTENT))


def test_a_broken_read_goes_on_where_it_broke_off(
    store: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    right = S3File._fetch_range

    def breaking(file: Any, start: int, end: int) -> bytes:
        asked.append(start)
        if len(asked) == 2:
            raise ConnectionResetError
        return right(file, start, end)

    monkeypatch.setattr(S3File, "_fetch_range", breaking)
    monkeypatch.setattr("llmrouter.inference.models.sources.object_store._BLOCK", 1_000_000)
    fetch(wanted(), target, silent)
    assert target.read_bytes() == CONTENT
    assert asked[2] >= 1_000_000, "not from the start again"


def test_a_part_from_before_is_gone_on_with(store: str, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("tiny.gguf.part").write_bytes(CONTENT[:1_234_567])
    told: list[int] = []
    fetch(wanted(), target, lambda _, done, __: told.append(done))
    assert target.read_bytes() == CONTENT
    assert told[0] > 1_234_567


def test_a_part_that_is_complete_is_only_checked(store: str, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("tiny.gguf.part").write_bytes(CONTENT)
    fetch(wanted(), target, silent)
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_keeps_nothing(store: str, target: Path) -> None:
    assert "nothing was kept" in str(refusal(wanted(sha256="0" * 64), target))
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("url", ["s3://models/no.gguf", "s3://nobody/tiny.gguf"])
def test_a_missing_object_is_told_as_such(store: str, target: Path, url: str) -> None:
    error = refusal(wanted(url), target)
    assert "there is no such object" in str(error)
    assert not isinstance(error, SourceUnreachableError)


def test_missing_credentials_are_told_with_the_remedy(
    store: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "check the machine's AWS credentials" in str(refusal(wanted(), target))


def test_an_endpoint_without_https_is_not_asked(
    store: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example")
    assert "store.example is not https" in str(refusal(wanted(), target))


def test_nobody_at_the_endpoint_is_unreachable(
    store: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    assert isinstance(refusal(wanted(attempts=1), target), SourceUnreachableError)


def test_without_s3fs_the_extra_is_named(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    assert "install llmrouter[s3]" in str(refusal(wanted(), target))
