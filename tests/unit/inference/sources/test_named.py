"""What people write becomes a source, or is refused with what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.sources.hub import HubSource
from llmrouter.inference.models.sources.local import LocalSource
from llmrouter.inference.models.sources.named import named_source
from llmrouter.inference.models.sources.object_store import ObjectFile
from llmrouter.inference.models.sources.remote import RemoteSource
from llmrouter.inference.models.sources.web import WebFile

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("a/b.gguf", LocalSource(Path("a/b.gguf"), SHA256)),
        ("/models/folder", LocalSource(Path("/models/folder"), SHA256)),
        ("hf://owner/name", HubSource("owner/name", sha256=SHA256)),
        ("hf://o/n/sub/b.gguf", HubSource("o/n", "sub/b.gguf", sha256=SHA256)),
        ("hf://o/n@main", HubSource("o/n", revision="main", sha256=SHA256)),
        ("hf://o/n@v1.0/b.gguf", HubSource("o/n", "b.gguf", "v1.0", SHA256)),
        ("https://a.example/b?x=1", RemoteSource(WebFile("https://a.example/b?x=1"), SHA256)),
        ("http://127.0.0.1:80/b", RemoteSource(WebFile("http://127.0.0.1:80/b"), SHA256)),
        ("s3://bucket/a/b.gguf", RemoteSource(ObjectFile("s3://bucket/a/b.gguf"), SHA256)),
    ],
)  # fmt: skip
def test_each_kind_of_place(text: str, source: object) -> None:
    assert named_source(text, SHA256.upper()) == source


def test_a_hub_and_this_machine_need_no_checksum() -> None:
    assert named_source("hf://owner/name") == HubSource("owner/name")
    assert named_source("b.gguf") == LocalSource(Path("b.gguf"))


def refusal(text: str, sha256: str | None = SHA256) -> str:
    with pytest.raises(RouterError) as raised:
        named_source(text, sha256)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
    return raised.value.message


@pytest.mark.parametrize(
    "text", ["https://a.example/b.gguf?signature=hidden", "s3://bucket/b.gguf"]
)
def test_other_places_need_one_and_the_error_says_how_to_give_it(text: str) -> None:
    told = refusal(text, None)
    assert "sha256: must be given" in told
    assert "hidden" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no place"),
        ("a\nb", "is no place"),
        ("a" * 5000, "is no place"),
        ("gs://bucket/key", "'gs://' is not known; write a path, hf://"),
        ("file:///etc/passwd", "'file://' is not known"),
        ("hf://owner", "must be hf://owner/name"),
        ("hf://owner/na me", "must be hf://owner/name"),
        ("hf://owner/name/../../x", "must be hf://owner/name"),
        ("http://a.example/b.gguf", "must be had by https"),
        ("https://me:secret@a.example/b.gguf", "without a user"),
        ("https:///b.gguf", "must be https://host/path"),
        ("https://a.example", "must be https://host/path"),
        ("https://a.example/b c.gguf", "must be https://host/path"),
        ("https://[a/b.gguf", "must be had by https"),
        ("s3://bucket", "must be s3://bucket/key"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(text: str, told: str) -> None:
    assert told in refusal(text)
    assert "secret" not in refusal(text)


@pytest.mark.parametrize("sha256", ["", "0" * 63, "g" * 64, "sha256:" + "0" * 57])
def test_a_checksum_is_64_hex_digits(sha256: str) -> None:
    assert "sha256sum" in refusal("b.gguf", sha256)


@contextmanager
def suppress_invalid() -> Iterator[None]:
    """Let nothing pass but INVALID_ARGUMENT."""
    try:
        yield
    except RouterError as error:
        if error.reason is not Reason.INVALID_ARGUMENT:
            raise


@given(st.text(max_size=80) | st.sampled_from(["hf", "https", "http", "s3"]).flatmap(
    lambda scheme: st.text(max_size=60).map(lambda rest: f"{scheme}://{rest}")
))  # fmt: skip
def test_anything_is_a_source_or_an_invalid_argument(text: str) -> None:
    with suppress_invalid():
        named_source(text, SHA256)
