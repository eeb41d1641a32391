"""The place of a complaint is the innermost subschema that is refused in the same words."""

from __future__ import annotations

import pytest

from llmrouter.inference.backends.schema_place import find_place

WRONG = {"type": "strin"}


def complain(schema: object) -> str:
    """Complain as a compiler does: of whatever it meets first, without saying where."""
    if isinstance(schema, dict):
        if schema.get("type") == "strin":
            return "Invalid type: strin"
        return next(filter(None, map(complain, schema.values())), "")
    if isinstance(schema, list):
        return next(filter(None, map(complain, schema)), "")
    return ""


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (WRONG, ""),
        ({"properties": {"a": {}, "b": WRONG}}, "/properties/b"),
        ({"properties": {"a/b~c": {"items": WRONG}}}, "/properties/a~1b~0c/items"),
        ({"anyOf": [{}, {"allOf": [{}, {}, WRONG]}]}, "/anyOf/1/allOf/2"),
        ({"prefixItems": [WRONG]}, "/prefixItems/0"),
        ({"additionalProperties": {"not": WRONG}}, "/additionalProperties/not"),
        ({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": WRONG}}, "/$defs/x"),
        ({"properties": {"a": True}, "items": [False, WRONG]}, "/items/1"),
    ],
)
def test_the_innermost_wrong_subschema_is_pointed_to(schema: dict[str, object], place: str) -> None:
    def of_what_it_means(part: object) -> str:
        """Definitions count where they are meant, not where they are kept along."""
        if isinstance(part, dict) and part is not schema and "type" not in part:
            part = {key: value for key, value in part.items() if key != "$defs"}
        return complain(part)

    assert find_place(schema, "Invalid type: strin", of_what_it_means) == place


def test_another_complaint_is_not_followed() -> None:
    assert find_place({"properties": {"a": WRONG}}, "too large", complain) == ""


def test_a_schema_without_end_costs_a_bounded_number_of_tries() -> None:
    tries = 0

    def count(_: object) -> str:
        nonlocal tries
        tries += 1
        return ""

    assert find_place({"properties": {str(i): {} for i in range(5000)}}, "x", count) == ""
    assert tries <= 256
