"""The real client of a Hugging Face hub, against a hub on this machine that can misbehave."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from tests.unit.inference.sources.fake_hub import COMMIT, REPOSITORY, FakeHub, hub_serving

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.sources.base import SourceUnreachableError
from llmrouter.inference.models.sources.hub import HubSource

WEIGHTS = os.urandom(3_000_000)
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
TOKEN = "hf_thisIsASecret"  # noqa: S105 - of a hub on this machine


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with hub_serving() as made:
        made.files = {"tiny.gguf": WEIGHTS, "README.md": b"# Tiny"}
        made.large = {"tiny.gguf"}
        # What the client reads from the environment when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", made.url)
        template = f"{made.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield made


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


def source(file: str | None = None, **changes) -> HubSource:
    return HubSource(REPOSITORY, file, **changes)


def refusal(one: HubSource, downloads: Path) -> RouterError:
    with pytest.raises(RouterError) as raised, one.fetched(downloads, silent):
        pass
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert TOKEN not in str(raised.value)
    return raised.value


def blobs() -> list[Path]:
    return [one for one in Path(constants.HF_HUB_CACHE).rglob("*/blobs/*") if one.is_file()]


@pytest.mark.parametrize("file", [None, "tiny.gguf"])
def test_the_only_gguf_arrives_with_progress_and_the_commit_it_is_of(hub, downloads, file) -> None:
    told: list[tuple[str, int, int]] = []
    with source(file).fetched(downloads, lambda *step: told.append(step)) as found:
        assert found.path.read_bytes() == WEIGHTS
        assert found.path.name == "tiny.gguf"
        assert found.origin.location == f"hf://{REPOSITORY}@{COMMIT}/tiny.gguf"
        assert found.origin.sha256 == SHA256
    assert told[-1] == ("download", len(WEIGHTS), len(WEIGHTS))


def test_the_cache_keeps_the_file_and_serves_it_the_next_time(hub, downloads) -> None:
    for _ in range(2):
        with source().fetched(downloads, silent) as found:
            assert found.path.is_relative_to(constants.HF_HUB_CACHE)
    assert len(hub.downloads()) == 1
    assert list(downloads.iterdir()) == []


def test_a_pinned_file_in_the_cache_is_used_without_asking_anybody(hub, downloads) -> None:
    pinned = source("tiny.gguf", sha256=SHA256)
    with source().fetched(downloads, silent):
        pass
    hub.asked.clear()
    with pinned.fetched(downloads, silent) as found:
        assert found.path.read_bytes() == WEIGHTS
    assert hub.asked == []


def test_broken_downloads_go_on_where_they_broke_off(hub, downloads, monkeypatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.cuts = [1_000_000, 500_000, 7]
    with source().fetched(downloads, silent) as found:
        assert found.path.read_bytes() == WEIGHTS
    assert hub.downloads() == [None, "bytes=1000000-", "bytes=1500000-", "bytes=1500000-"]


def test_what_the_hub_hands_out_must_be_what_it_lists(hub, downloads) -> None:
    hub.listed_sha256 = {"tiny.gguf": "0" * 64}
    assert "another checksum of tiny.gguf" in str(refusal(source(), downloads))
    assert blobs() == []


def test_another_checksum_than_expected_is_refused_before_the_download(hub, downloads) -> None:
    assert f"has sha256 {SHA256}" in str(refusal(source("tiny.gguf", sha256="0" * 64), downloads))
    assert hub.downloads() == []
    assert blobs() == []


def test_a_token_opens_private_repositories_and_goes_to_nobody_else(
    hub, downloads, monkeypatch, caplog
) -> None:
    hub.private_token = TOKEN
    said = str(refusal(source(), downloads))
    assert "it is private: then set HF_TOKEN or run `hf auth login`" in said
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with source().fetched(downloads, silent) as found:
        assert found.path.read_bytes() == WEIGHTS
        assert TOKEN not in found.origin.location
    assert hub.tokens_at_the_content_server == [None]
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, "GatedRepo", "its terms must be accepted on its page first"),
        (404, "RepoNotFound", "no such repository"),
        (404, "RevisionNotFound", "no such revision"),
        (418, "", "the hub answers 418"),
    ],
)
def test_refusals_are_final_and_say_what_to_do(hub, downloads, status, code, told) -> None:
    hub.status, hub.error_code = status, code
    error = refusal(source(), downloads)
    assert told in str(error)
    assert not isinstance(error, SourceUnreachableError)


def test_a_hub_that_is_down_is_unreachable(hub, downloads) -> None:
    hub.status = 503
    assert isinstance(refusal(source(), downloads), SourceUnreachableError)


def test_nobody_at_the_address_is_unreachable(downloads, monkeypatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    error = refusal(source(), downloads)
    assert isinstance(error, SourceUnreachableError)
    assert "HF_ENDPOINT" in str(error)


def test_offline_mode_is_honoured(downloads, monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()  # which has looked at it before
    try:
        assert "HF_HUB_OFFLINE is set" in str(refusal(source(), downloads))
    finally:
        monkeypatch.undo()
        huggingface_hub.close_session()


def test_a_hub_without_https_is_not_asked(downloads, monkeypatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.example")
    assert "is not https" in str(refusal(source(), downloads))


def test_a_checkpoint_beyond_the_bound_is_refused_before_the_download(hub, downloads) -> None:
    assert "at most 1000 are fetched" in str(refusal(source(largest=1000), downloads))
    assert hub.downloads() == []


def test_a_full_disk_is_named_and_keeps_nothing(hub, downloads, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    assert "is full; free some space" in str(refusal(source(), downloads))
    assert blobs() == []


FOLDER = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model-1.safetensors": WEIGHTS[:1000],
    "model-2.safetensors": WEIGHTS[1000:],
    "pytorch_model.bin": b"a pickle",
    "modelling.py": b"import os",
    "onnx/model.onnx": b"another form",
}


def test_a_folder_comes_with_what_importers_read_and_nothing_else(hub, downloads) -> None:
    hub.files, hub.large = FOLDER, {"model-1.safetensors", "model-2.safetensors"}
    told: list[tuple[str, int, int]] = []
    with source().fetched(downloads, lambda *step: told.append(step)) as found:
        names = sorted(one.name for one in found.path.iterdir())
        assert names == [
            "config.json",
            "model-1.safetensors",
            "model-2.safetensors",
            "tokenizer.json",
        ]
        assert not any(one.is_symlink() for one in found.path.iterdir())
        assert (found.path / "model-2.safetensors").read_bytes() == WEIGHTS[1000:]
        assert found.origin.location == f"hf://{REPOSITORY}@{COMMIT}"
    assert not found.path.exists()
    assert told == sorted(told, key=lambda step: step[1])
    assert {total for _, _, total in told} == {len(WEIGHTS) + 4}


def test_a_folder_inside_of_the_repository_can_be_named(hub, downloads) -> None:
    hub.files, hub.large = FOLDER, set()
    with source("onnx").fetched(downloads, silent) as found:
        assert found.path.name == "model.onnx"


def test_a_small_file_is_held_to_gits_id_of_it(hub, downloads, monkeypatch) -> None:
    hub.files, hub.large = dict(FOLDER), set()
    monkeypatch.setattr(
        FakeHub, "listing", lambda made, right=FakeHub.listing: _with_other_ids(right(made))
    )
    assert "another checksum of config.json" in str(refusal(source(), downloads))


def _with_other_ids(listing):
    for one in listing["siblings"]:
        one["blobId"] = "0" * 40
    return listing


def test_several_ggufs_are_told_by_name(hub, downloads) -> None:
    hub.files = {"a-q4.gguf": WEIGHTS, "a-q8.gguf": WEIGHTS}
    assert "name one of them: a-q4.gguf, a-q8.gguf" in str(refusal(source(), downloads))


def test_pickled_weights_alone_are_refused(hub, downloads) -> None:
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"a pickle"}
    assert "no weights that can be read" in str(refusal(source(), downloads))


def test_one_checksum_for_a_folder_is_refused(hub, downloads) -> None:
    hub.files, hub.large = FOLDER, set()
    assert "only a file has one sha256" in str(refusal(source(sha256=SHA256), downloads))
