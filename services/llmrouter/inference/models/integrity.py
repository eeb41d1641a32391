"""Whether a model folder still holds what was imported: the contents of its files, every byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from llmrouter.common.errors import RouterError
from llmrouter.inference.background import in_background
from llmrouter.inference.models.card import CARD_FILE, ModelCard
from llmrouter.inference.models.checksum import file_sha256, version_of
from llmrouter.inference.models.folder import folder_card
from llmrouter.inference.models.reading import read_model
from llmrouter.inference.models.untrusted_json import broken_file, inside

__all__ = ["Damaged", "check_contents", "fault_in", "ignore", "loaded_whole", "to_fetch"]

_REMEDY = "pull or import the model again"
_LoadedT = TypeVar("_LoadedT")

Damaged: TypeAlias = Callable[[str, str], None]
"""Told the name of a model that will be replaced, and what is wrong with it."""


def check_contents(path: Path) -> int:
    """Compare the files of the folder at `path` with what its card recorded at the import.

    Every byte is read: about a second per GB once the disk has given it. A card of an older import
    has no checksums, but its version is a hash over all of them.

    Returns:
        The number of files compared; 0 for folders of which nothing was recorded.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming what differs, and the remedy.
    """
    card = folder_card(path)
    if card is None or not card.files:
        return 0
    found = {name: _checksum(inside(path, name, _REMEDY)) for name in card.files}
    for name, checksum in card.checksums.items():
        if found[name] != checksum:
            problem = f"is damaged: its SHA-256 is {found[name]}, but {checksum} when imported"
            raise broken_file(path / name, problem, _REMEDY)
    if not card.checksums:
        _check_version(path, card, version_of(found))
    return len(found)


def _checksum(file: Path) -> str:
    try:
        return file_sha256(file)
    except OSError as error:
        raise broken_file(file, f"cannot be read ({error.strerror})", _REMEDY) from error


def _check_version(path: Path, card: ModelCard, found: str) -> None:
    if found != card.version:
        problem = f"a file is damaged: together they are {found}, but {card.version} when imported"
        raise broken_file(path, problem, _REMEDY)


def fault_in(path: Path) -> str | None:
    """Return what is wrong with the model folder at `path`, as a sentence; None if it is whole."""
    try:
        read_model(path)
        check_contents(path)
    except RouterError as error:
        return error.message
    return None


def ignore(name: str, fault: str) -> None:
    """Tell nobody of a damaged model."""


def to_fetch(path: Path, damaged: Damaged = ignore) -> bool:
    """Whether a model of the catalog has to be fetched to `path`.

    It has where nothing is there, where something without a card is, and where what is there is
    damaged, of which `damaged` is told.
    """
    if not (path / CARD_FILE).is_file():
        return True
    fault = fault_in(path)
    if fault is not None:
        damaged(path.name, fault.rsplit("; ", 1)[0])  # without the remedy, which is under way
    return fault is not None


async def loaded_whole(path: Path, loading: Awaitable[_LoadedT]) -> _LoadedT:
    """Return what `loading` gives once the contents of the folder are known to be right.

    Both go on at once, so that the check costs little: loading waits for the disk and computes on
    few cores.

    Raises:
        RouterError: As `check_contents`, even where `loading` failed too: damage is the cause.
    """
    checked, loaded = await asyncio.gather(
        in_background(check_contents, path), loading, return_exceptions=True
    )
    for outcome in (checked, loaded):
        if isinstance(outcome, BaseException):
            raise outcome
    return loaded  # type: ignore[return-value]  # what is no exception
