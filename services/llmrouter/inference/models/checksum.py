"""Checksums and sizes of files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

__all__ = ["file_checksums", "file_sha256", "file_sizes", "folder_sha256", "version_of"]

_VERSION_DIGITS = 12


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's contents as 64 lower-case hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `folder` by its path in it."""
    return {name: file_sha256(folder / name) for name in file_sizes(folder)}


def folder_sha256(folder: Path) -> str:
    """Return 64 hex digits of a hash over the names and contents of all files below `folder`."""
    every = (file for file in folder.rglob("*") if file.is_file())
    return _together({file.relative_to(folder).as_posix(): file_sha256(file) for file in every})


def version_of(checksums: Mapping[str, str]) -> str:
    """Return 12 hex digits of a hash over files' paths and contents, in whatever order."""
    return _together(checksums)[:_VERSION_DIGITS]


def _together(checksums: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name in sorted(checksums, key=lambda path: path.split("/")):
        digest.update(f"{name}\0{checksums[name]}\n".encode())
    return digest.hexdigest()


def file_sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of every file below `folder` by its path in it."""
    return {
        one.relative_to(folder).as_posix(): one.stat().st_size
        for one in sorted(folder.rglob("*"))
        if one.is_file()
    }
