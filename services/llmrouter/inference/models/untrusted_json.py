"""Reads values out of JSON files that nobody vouches for: types and bounds first, then use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmrouter.common.errors import Reason, RouterError

__all__ = ["BrokenFileError", "JsonObject", "broken_file", "inside", "read_json", "read_object"]

_MAX_JSON_BYTES = 16 * 1024 * 1024


class BrokenFileError(RouterError):
    """MODEL_UNAVAILABLE for a file of a model; its parts are kept for those who know better."""

    def __init__(self, file: Path, problem: str, remedy: str) -> None:
        super().__init__(Reason.MODEL_UNAVAILABLE, f"{file}: {problem}; {remedy}")
        self.file, self.problem = file, problem


def broken_file(file: Path, problem: str, remedy: str) -> BrokenFileError:
    """Return the error naming the file, what is wrong with it and what helps."""
    return BrokenFileError(file, problem, remedy)


def inside(folder: Path, name: str, remedy: str) -> Path:
    """Return the existing file `name` of `folder`, links followed.

    Raises:
        RouterError: MODEL_UNAVAILABLE when it is missing, no file, or leads out of the folder.
    """
    file = folder / name
    try:
        real = file.resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise broken_file(file, "is missing", remedy) from error
    if not real.is_relative_to(folder.resolve()):
        raise broken_file(file, "leads out of the model's folder", remedy)
    if not real.is_file():
        raise broken_file(file, "is not a file", remedy)
    return file


class JsonObject:
    """One JSON object of a file; every read names the file and the field when it fails."""

    def __init__(self, file: Path, path: str, values: Mapping[str, Any], remedy: str) -> None:
        self.file = file
        self._path = path
        self._values = values
        self._remedy = remedy

    def refuse(self, name: str, problem: str) -> RouterError:
        """Return the error for the field `name`."""
        return broken_file(self.file, f"{self._path}{name} {problem}", self._remedy)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._values.get(name) is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, in the order of the file."""
        return tuple(self._values)

    def raw(self, name: str) -> Any:
        """Return the field as JSON gave it; None where it is missing."""
        return self._values.get(name)

    def child(self, name: str) -> JsonObject:
        """Return the object in the field `name`."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise self.refuse(name, "must be an object")
        return JsonObject(self.file, f"{self._path}{name}.", value, self._remedy)

    def integer(self, name: str, low: int, high: int) -> int:
        """Return the whole number in `name`, bounds included."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.refuse(name, f"is {_short(value)}, must be a whole number {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """Return the number in `name`, bounds included; NaN is outside of all bounds."""
        value = self._values.get(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise self.refuse(name, f"is {_short(value)}, must be a number {low:g} to {high:g}")
        return float(value)

    def flag(self, name: str) -> bool:
        """Return the truth value in `name`; False where it is missing."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(name, f"is {_short(value)}, must be true or false")
        return bool(value)

    def text(self, name: str, *, longest: int = 256, empty: bool = False) -> str:
        """Return the string in `name`, of at most `longest` characters."""
        value = self._values.get(name)
        if (
            not isinstance(value, str)
            or len(value) > longest
            or not (value or empty)
            or any("\ud800" <= letter <= "\udfff" for letter in value)
        ):
            raise self.refuse(
                name, f"is {_short(value)}, must be text of at most {longest} characters"
            )
        return value


def read_object(file: Path, remedy: str) -> JsonObject:
    """Read `file` as one JSON object of at most 16 MiB.

    Raises:
        RouterError: MODEL_UNAVAILABLE when it cannot be read, is too large or is not an object.
    """
    values = read_json(file, remedy)
    if not isinstance(values, dict):
        raise broken_file(file, "must hold one JSON object", remedy)
    return JsonObject(file, "", values, remedy)


def read_json(file: Path, remedy: str) -> Any:
    """Read `file` as JSON of at most 16 MiB.

    Raises:
        RouterError: MODEL_UNAVAILABLE when it cannot be read, is too large or is not JSON.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_JSON_BYTES + 1)
        if len(content) > _MAX_JSON_BYTES:
            raise broken_file(file, "is larger than 16 MiB", remedy)
        return json.loads(content)
    except OSError as error:
        raise broken_file(file, f"cannot be read ({error.strerror})", remedy) from error
    except (ValueError, RecursionError) as error:
        raise broken_file(file, f"is not JSON ({error})", remedy) from error


def _short(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
