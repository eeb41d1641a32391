"""What is wrong with a setting, in our own words: pydantic's are made for programmers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["in_words", "names_secret"]

_SECRETS = ("password", "secret", "api_key", "apikey", "token", "private_key")
_MEASURES = ("per_token", "first_token")
"""Ends of names that tell of tokens of text."""
_DEPTH = 5

_SENTENCES = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} entries",
    "string_too_short": "must not be empty",
    "missing": "must be given",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "path_type": "must be a path",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must hold settings, one per line",
    "model_type": "must hold settings, one per line",
    "model_attributes_type": "must hold settings, one per line",
}
_LONGEST = 60


def names_secret(name: str) -> bool:
    """Whether a setting of this name holds what nobody may read."""
    return name.lower().endswith(_SECRETS) and not name.lower().endswith(_MEASURES)


def in_words(error: Mapping[str, Any]) -> str:
    """Return what one error of pydantic's says: what must be, and what was given.

    Of what a secret's name holds nothing is said.
    """
    sentence = _SENTENCES.get(error["type"])
    if error["type"] == "value_error":
        said, given = str(error["ctx"]["error"]), not isinstance(error.get("input"), dict)
    elif sentence is None:
        said, given = error["msg"], True
    else:
        said, given = sentence.format(**error.get("ctx", {})), error["type"] != "missing"
    if not given or any(names_secret(str(part)) for part in error.get("loc", ())):
        return said
    shown = repr(_without_secrets(error.get("input"), _DEPTH))
    shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
    return f"{said}, not {shown}"


def _without_secrets(value: Any, depth: int) -> Any:
    """Return plain data as it may be shown; what is nested deeper than that is left out."""
    if not isinstance(value, Mapping | list | tuple):
        return value
    if not depth:
        return "…"
    if isinstance(value, Mapping):
        return {
            key: "…" if names_secret(str(key)) else _without_secrets(one, depth - 1)
            for key, one in value.items()
        }
    return [_without_secrets(one, depth - 1) for one in value]
