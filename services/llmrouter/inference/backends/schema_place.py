"""Finds the place in a JSON Schema that a compiler complains of.

Compilers say what is wrong but not where. The place is the innermost subschema that, compiled by
itself, is refused in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["find_place"]

_MAPS = ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas")
_LISTS = ("prefixItems", "allOf", "anyOf", "oneOf", "items")
_SINGLE = (
    "items",
    "additionalProperties",
    "additionalItems",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
)
_MAX_TRIES = 256
"""Subschemas compiled at most; beyond it the place is the innermost one found so far."""


def find_place(
    schema: Mapping[str, Any], complaint: str, complain: Callable[[Mapping[str, Any]], str]
) -> str:
    """Return the JSON Pointer (RFC 6901) of the place; empty for the whole schema.

    Args:
        schema: The schema that was refused.
        complaint: What was said of it.
        complain: Says what is wrong with a schema; empty where nothing is.
    """
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    place, tries = "", 0
    here: Mapping[str, Any] = schema
    while True:
        for step, child in _children(here):
            tries += 1
            if tries > _MAX_TRIES:
                return place
            if complain({**shared, **child}) == complaint:
                place, here = place + step, child
                break
        else:
            return place


def _children(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the subschemas of a schema with the pointers that lead from it to them."""
    for step, child in _inside(schema):
        if isinstance(child, dict):
            yield step, child


def _inside(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what stands where subschemas do."""
    for key in _MAPS:
        inner = schema.get(key)
        if isinstance(inner, dict):
            yield from ((f"/{key}/{_escaped(name)}", child) for name, child in inner.items())
    for key in _LISTS:
        inner = schema.get(key)
        if isinstance(inner, list):
            yield from ((f"/{key}/{index}", child) for index, child in enumerate(inner))
    yield from ((f"/{key}", schema.get(key)) for key in _SINGLE)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
