"""`settings`: everything that can be configured, as a file to start from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import typer
import yaml

from llmrouter.cli.output import Json, write_json

__all__ = ["settings"]

_WIDTH = 96
_HEAD = """\
# Every setting with its default; keep what differs. `llmrouter up -c FILE` reads it, and a variable
# stands above it: LLMROUTER_GATEWAY__PORT=6000 sets gateway.port.
"""

_Schema = dict[str, Any]
_Section = Annotated[
    Literal["gateway", "selector", "cache", "inference", "telemetry"] | None,
    typer.Argument(help="One section only."),
]


def settings(section: _Section = None, as_json: Json = False) -> None:
    """Show every setting with its default.

    The output is a YAML file to start from; with --json it is a JSON Schema of such files.
    """
    from llmrouter.suite import SuiteSettings

    schema = SuiteSettings.model_json_schema()
    parts = schema["$defs"]
    if as_json:
        _unwrap(schema, *parts.values())
        told = schema if section is None else _resolved(schema["properties"][section], parts)
        write_json(told | {"$defs": parts})
        return
    typer.echo(_HEAD, nl=False)
    for name, values in SuiteSettings().model_dump(mode="json").items():
        if section in (None, name):
            typer.echo(f"\n{name}:")
            for line in _lines(_resolved(schema["properties"][name], parts), values, parts):
                typer.echo(f"  {line}")


def _unwrap(*schemas: _Schema) -> None:
    """Put what each setting means on one line, however its source is wrapped."""
    for about in (about for one in schemas for about in one.get("properties", {}).values()):
        if "description" in about:
            about["description"] = " ".join(about["description"].split())


def _lines(schema: _Schema, values: dict[str, Any], parts: _Schema) -> Iterator[str]:
    """Yield the settings of one section, each below what it means."""
    for name, value in values.items():
        about = schema["properties"][name]
        yield from _comment(_meaning(about, parts))
        inner = _resolved(_held(about), parts)
        if isinstance(value, dict) and value:
            yield f"{name}:"
            yield from (f"  {line}" for line in _lines(inner, value, parts))
            continue
        for field, told in inner.get("properties", {}).items():
            yield from _comment(f"  {field}: {_meaning(told, parts)}")
        # Without a value: null would be one.
        shown = yaml.safe_dump({name: value}, sort_keys=False, width=_WIDTH).splitlines()
        yield from shown if value is not None else [f"# {name}:"]


def _held(about: _Schema) -> _Schema:
    """Return what a list, a mapping or a section that may be left out holds; else the setting."""
    sections = [one for one in about.get("anyOf", ()) if "$ref" in one]
    found: _Schema = about.get("items") or about.get("additionalProperties") or about
    return sections[0] if sections else found


def _resolved(schema: _Schema, parts: _Schema) -> _Schema:
    """Return the schema that a reference leads to, or the schema itself."""
    reference = schema.get("$ref")
    found: _Schema = parts[reference.rpartition("/")[2]] if reference else schema
    return found


def _meaning(about: _Schema, parts: _Schema) -> str:
    """Return what a setting means, and what it must be where that is bounded.

    Where it means what its section does, pydantic tells it there alone.
    """
    text = " ".join((about.get("description") or _resolved(about, parts)["description"]).split())
    bounds = _bounds(about)
    return f"{text} ({bounds})" if bounds else text


def _bounds(about: _Schema) -> str:
    if "enum" in about:
        return ", ".join(about["enum"])
    told = [
        f"{words} {_number(about[key])}"
        for key, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        )
        if key in about
    ]
    return ", ".join(told)


def _number(bound: float) -> str:
    """Return a bound as a person writes it: no decimals where there are none."""
    return f"{int(bound):,}" if bound == int(bound) else str(bound)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
