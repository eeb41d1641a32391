"""Which files of a hub's repository make a checkpoint, and whether they are what it listed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from llmrouter.inference.models.checksum import file_sha256
from llmrouter.inference.models.sources.base import refusal

__all__ = ["HubFile", "choose_files", "matches"]

_WEIGHTS = (".safetensors", ".onnx")
_CTRANSLATE2 = "model.bin"
_BESIDE = (".json", ".jinja", ".txt", ".model", ".data", ".onnx_data")
"""What lies beside weights: configuration, vocabulary, template, weights outside of a graph."""
_TOLD = 12
"""Files that an error names."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file as the hub lists it."""

    path: str
    """Inside of the repository."""
    size: int
    """Bytes."""
    sha256: str | None = None
    """Of a large file."""
    blob_id: str | None = None
    """Git's id of the contents, for a small one."""


def choose_files(listed: Sequence[HubFile], wanted: str | None, place: str) -> list[HubFile]:
    """Return the files to fetch: one to import by itself, or those of one folder together.

    Pickled weights and programs are never among them.

    Args:
        listed: Everything in the repository.
        wanted: A file or a folder in it; None stands for its top folder.
        place: For errors.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the files there are.
    """
    for one in listed:
        if one.path == wanted:
            return [one]
    here = [one for one in listed if _folder(one.path) == (wanted or "").strip("/")]
    checkpoints = [one for one in here if one.path.endswith(".gguf")]
    if len(checkpoints) == 1:
        return checkpoints
    if checkpoints:
        raise refusal(place, f"has several GGUF files, name one of them: {_told(checkpoints)}")
    if not any(_is_weights(one.path) for one in here):
        raise refusal(
            place, f"has no weights that can be read (GGUF, safetensors, ONNX): {_told(listed)}"
        )
    return [one for one in here if _is_weights(one.path) or one.path.endswith(_BESIDE)]


def matches(file: Path, listed: HubFile) -> bool:
    """Whether a file holds what the hub listed; one listed without any checksum does not."""
    if listed.sha256 is not None:
        return file_sha256(file) == listed.sha256
    content = file.read_bytes() if file.stat().st_size == listed.size else b""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return blob.hexdigest() == listed.blob_id


def _folder(path: str) -> str:
    parent = PurePosixPath(path).parent.as_posix()
    return "" if parent == "." else parent


def _is_weights(path: str) -> bool:
    return path.endswith(_WEIGHTS) or PurePosixPath(path).name == _CTRANSLATE2


def _told(files: Sequence[HubFile]) -> str:
    named = ", ".join(sorted(one.path for one in files)[:_TOLD]) or "it is empty"
    return f"{named} and {len(files) - _TOLD} more" if len(files) > _TOLD else named
