"""Cleans JSON so that it stays JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = ["cleaned_json"]


def cleaned_json(text: str, whole: Callable[[str], str], part: Callable[[str], str]) -> str:
    """Return JSON with its strings, numbers and names cleaned; what is no JSON is cleaned as prose.

    Args:
        text: The JSON.
        whole: Cleans all of it; where that changes nothing it stays as it is.
        part: Cleans one string, or what is left in the whole.
    """
    prose = whole(text)
    if prose == text:
        return text
    try:
        written = json.dumps(_cleaned(json.loads(text), part), ensure_ascii=False, allow_nan=False)
        written.encode()
    except (ValueError, RecursionError):
        return prose
    return part(written)  # what is only known by the name before it


def _cleaned(value: Any, part: Callable[[str], str]) -> Any:
    match value:
        case dict():
            return {part(name): _cleaned(one, part) for name, one in value.items()}
        case list():
            return [_cleaned(one, part) for one in value]
        case str():
            return part(value)
        case bool() | None:
            return value
        case _:
            number = str(value)
            cleaned = part(number)
            return value if cleaned == number else cleaned
