"""What a response format says to llguidance, and what llguidance says of it.

Its complaints are for people at a terminal: excerpts with a caret below. Here they become one
sentence each that names the place.
"""

from __future__ import annotations

import json
import re
from typing import Any

from llmrouter.common.errors import RouterError, invalid
from llmrouter.common.generation import FormatKind, ResponseFormat

__all__ = ["FIELD", "check_grammar", "complaint_of", "read_schema", "schema_text"]

FIELD = "sampling.response_format"

_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As `json.dumps` writes it. Free spacing would let a model that has lost its way write blanks
without end."""
_OPTIONS = "x-guidance"
"""Where llguidance looks for its own options, some of which weaken what it enforces."""

_REGEX_ERROR = re.compile(
    r"regex parse error:\n {4}(?P<text>.*)\n(?P<caret> *)\^+\nerror: (?P<error>[^\n]*)"
)
_UNKNOWN_REGEX = re.compile(r"\(in regex\): (?P<error>[^\n]*)")
_LARK_PLACE = re.compile(r"(?:at )?(?P<line>\d+)\((?P<column>\d+)\): (?P<error>[^\n]*)")
_REWRITTEN = {"/": 2, "\n": 2, "\r": 2, "\t": 2}
"""Characters of an expression that llguidance writes with two before it parses them."""
_LITERAL = re.compile(r'//[^\n]*|#[^\n]*|"(?:\\.|[^"\\\n])*"|/(?:\\.|[^/\\\n])+/')
_TOKEN = re.compile(r"<[\[|]")


def read_schema(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`.

    Raises:
        RouterError: INVALID_ARGUMENT naming line and column, or what else is wrong.
    """
    field = f"{FIELD}.{FormatKind.JSON_SCHEMA.value}"
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise invalid(field, f"is not JSON at {place}: {error.msg}") from None
    except RecursionError:
        raise invalid(field, "is nested too deeply") from None
    except ValueError as error:
        raise invalid(field, f"is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise invalid(field, f"is a JSON {type(schema).__name__}; it must be an object")
    if _OPTIONS in schema:
        raise invalid(field, f"has the key '{_OPTIONS}', which is not part of JSON Schema")
    return schema


def schema_text(schema: dict[str, Any]) -> str:
    """Return a schema as llguidance is to read it."""
    return json.dumps({**schema, _OPTIONS: _SPACING})


def check_grammar(text: str) -> None:
    """Refuse a grammar that names tokens: one that names an end token could end anywhere.

    Raises:
        RouterError: INVALID_ARGUMENT naming line and column.
    """
    bare = _LITERAL.sub(lambda found: " " * len(found[0]), text)
    found = _TOKEN.search(bare)
    if found is None:
        return
    line = bare.count("\n", 0, found.start()) + 1
    column = found.start() - bare.rfind("\n", 0, found.start())
    raise invalid(
        f"{FIELD}.{FormatKind.GRAMMAR.value}",
        f"names a token at line {line}, column {column}; write the text instead",
    )


def complaint_of(wanted: ResponseFormat, message: str, place: str = "") -> RouterError:
    """Return the refusal for what llguidance said of a format.

    Args:
        wanted: The format.
        message: Its words.
        place: JSON Pointer into a schema; empty for the whole of it.
    """
    field = f"{FIELD}.{wanted.kind.value}"
    if wanted.kind is FormatKind.REGEX:
        return invalid(field, _of_regex(wanted.text, message))
    if wanted.kind is FormatKind.GRAMMAR:
        return invalid(field, _of_grammar(message))
    what = _pattern_error(message) or _first_line(message)
    return invalid(field, f"at {place or 'the root'}: {what}")


def _of_regex(text: str, message: str) -> str:
    found = _REGEX_ERROR.search(message)
    if found is not None:
        column = _column(text, len(found["caret"]) - 4)
        return f"at column {column}: {found['error']}"
    unknown = _UNKNOWN_REGEX.search(message)
    placed = _LARK_PLACE.match(message)
    return _first_line(unknown["error"] if unknown else placed["error"] if placed else message)


def _of_grammar(message: str) -> str:
    placed = _LARK_PLACE.match(message)
    what = _pattern_error(message) or _first_line(placed["error"] if placed else message)
    return f"at line {placed['line']}, column {placed['column']}: {what}" if placed else what


def _pattern_error(message: str) -> str:
    """Return what is wrong with an expression inside of a schema or grammar, if that is it."""
    found = _REGEX_ERROR.search(message)
    if found is None:
        return ""
    column = len(found["caret"]) - 3
    return f"the expression '{_short(found['text'])}' is wrong at column {column}: {found['error']}"


def _column(text: str, rewritten: int) -> int:
    """Return the column, from 1, of the character that llguidance has at index `rewritten`."""
    width = 0
    for index, letter in enumerate(text):
        width += _REWRITTEN.get(letter, 1)
        if width > rewritten:
            return index + 1
    return len(text) + 1


def _first_line(message: str) -> str:
    line = message.split("\n", 1)[0].strip()
    if line.startswith("panic"):
        return "cannot be compiled: llguidance does not know what to make of it"
    if "NoExtensionBias" in line:
        return "matches nothing at all"
    return _short(line) or "cannot be compiled"


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}..."


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
