"""From what a person writes to a source: a path, hf://, https:// or s3://."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from llmrouter.common.errors import RouterError, invalid
from llmrouter.inference.models.sources.base import Source
from llmrouter.inference.models.sources.hub import HubSource
from llmrouter.inference.models.sources.local import LocalSource
from llmrouter.inference.models.sources.object_store import ObjectFile
from llmrouter.inference.models.sources.remote import RemoteSource
from llmrouter.inference.models.sources.web import WebFile, is_confidential, place_of

__all__ = ["KINDS", "named_source"]

KINDS = "a path, hf://owner/name[@revision][/file], https://… or s3://bucket/key"
"""What can be written, for help and errors."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB = re.compile(
    rf"hf://(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[^@/\s]+))?(?:/(?P<file>\S+))?"
)
_WEB = re.compile(r"https?://[^\s/?#@]+/[^\s#]+")
_OBJECT = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}/\S+")
_MOST = 4096


def named_source(text: str, sha256: str | None = None) -> Source:
    """Return the source that `text` names.

    Args:
        text: One of `KINDS`.
        sha256: Of the file, 64 hex digits; needed where the place itself tells none.

    Raises:
        RouterError: INVALID_ARGUMENT naming what is wrong and what to write instead.
    """
    checksum = _checksum(sha256)
    if not 0 < len(text) <= _MOST or not text.isprintable():
        raise invalid("source", f"is no place; write {KINDS}")
    scheme = _SCHEME.match(text)
    if scheme is None:
        return LocalSource(Path(text), checksum)
    make = _BY_SCHEME.get(scheme[1])
    if make is None:
        raise invalid("source", f"'{scheme[1]}://' is not known; write {KINDS}")
    return make(text, checksum)


def _checksum(given: str | None) -> str | None:
    if given is None:
        return None
    if not _SHA256.fullmatch(given.lower()):
        raise invalid("sha256", f"{given!r} must be 64 hex digits, as sha256sum prints them")
    return given.lower()


def _hub(text: str, sha256: str | None) -> Source:
    found = _HUB.fullmatch(text)
    if found is None or ".." in Path(found["file"] or "").parts:
        raise invalid("source", f"{text!r} must be hf://owner/name[@revision][/file]")
    return HubSource(found["repository"], found["file"], found["revision"], sha256)


def _web(text: str, sha256: str | None) -> Source:
    if not is_confidential(text):
        raise invalid("source", f"{place_of(text)} must be had by https, or from this machine")
    if not _WEB.fullmatch(text):
        raise invalid("source", f"{place_of(text)} must be https://host/path, without a user")
    if sha256 is None:
        raise _needs_checksum(place_of(text))
    return RemoteSource(WebFile(text), sha256)


def _object(text: str, sha256: str | None) -> Source:
    if not _OBJECT.fullmatch(text):
        raise invalid("source", f"{text!r} must be s3://bucket/key")
    if sha256 is None:
        raise _needs_checksum(text)
    return RemoteSource(ObjectFile(text), sha256)


def _needs_checksum(place: str) -> RouterError:
    return invalid(
        "sha256",
        f"must be given, as the publisher of {place} states it: that place tells no checksum",
    )


_BY_SCHEME: dict[str, Callable[[str, str | None], Source]] = {
    "hf": _hub,
    "https": _web,
    "http": _web,
    "s3": _object,
}
