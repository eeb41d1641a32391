"""Typed reads of a GGUF's metadata; whatever is wrong is named with its key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmrouter.inference.importers.refusal import bad_file

__all__ = ["GgufFields"]


class GgufFields:
    """The metadata of one checked GGUF file; every read raises MODEL_UNAVAILABLE when it fails."""

    def __init__(self, path: Path, fields: Mapping[str, Any]) -> None:
        self._path, self._fields = path, fields

    def value(self, key: str) -> Any:
        """Return a field as it is; None where it is missing."""
        return self._fields.get(key)

    def text(self, key: str) -> str:
        """Return a text."""
        value = self.value(key)
        if not isinstance(value, str):
            raise bad_file(self._path, f"lacks the text '{key}'")
        return value

    def list(self, key: str, kind: type) -> list[Any]:
        """Return a list whose items are all of one type."""
        value = self.value(key)
        if not isinstance(value, list) or not value:
            raise bad_file(self._path, f"lacks the list '{key}'")
        if not all(type(item) is kind for item in value):
            raise bad_file(self._path, f"has a '{key}' of other things than {kind.__name__}")
        return value

    def real(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """Return a number within its bounds; NaN is outside of all."""
        value = self.value(key)
        value = default if value is None else value
        if not isinstance(value, float | int) or not low <= value <= high:
            raise bad_file(self._path, f"has {key} = {value!r}; it must be {low:g} to {high:g}")
        return float(value)

    def number(self, key: str, most: int, default: int | None = None, *, least: int = 1) -> int:
        """Return a whole number within its bounds."""
        value = self.value(key)
        value = default if value is None else value
        if type(value) is not int or not least <= value <= most:
            raise bad_file(self._path, f"has {key} = {value!r}; it must be {least} to {most}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a truth value."""
        value = self.value(key)
        if value is None:
            return default
        if type(value) is not bool:
            raise bad_file(self._path, f"has {key} = {value!r}; it must be true or false")
        return value

    def token(self, name: str, size: int) -> int | None:
        """Return the id of a special token; None where it is missing or outside the vocabulary."""
        value = self.value(f"tokenizer.ggml.{name}_token_id")
        return value if type(value) is int and 0 <= value < size else None
