"""What is wrong with a setting, in our own words: pydantic's are made for programmers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["in_words"]

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


def in_words(error: Mapping[str, Any]) -> str:
    """Return what one error of pydantic's says: what must be, and what was given."""
    given = repr(error.get("input"))
    given = given if len(given) <= _LONGEST else f"{given[: _LONGEST - 1]}…"
    if error["type"] == "value_error":
        said = str(error["ctx"]["error"])
        return said if isinstance(error.get("input"), dict) else f"{said}, not {given}"
    sentence = _SENTENCES.get(error["type"])
    if sentence is None:
        return f"{error['msg']}, not {given}"
    said = sentence.format(**error.get("ctx", {}))
    return said if error["type"] == "missing" else f"{said}, not {given}"
