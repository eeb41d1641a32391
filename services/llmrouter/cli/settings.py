"""`settings`: everything that can be configured, as a file to start from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import yaml

from llmrouter.cli.output import Json, write_json

if TYPE_CHECKING:
    from llmrouter.common.settings import Section

__all__ = ["settings"]

_WIDTH = 96
_HEAD = """\
# Every setting with its default; keep what differs. `llmrouter up -c FILE` reads it, and a variable
# stands above it: LLMROUTER_GATEWAY__PORT=6000 sets gateway.port.
"""

_Section = Annotated[
    Literal["gateway", "selector", "cache", "inference"] | None,
    typer.Argument(help="One section only."),
]


def settings(section: _Section = None, as_json: Json = False) -> None:
    """Show every setting with its default.

    The output is a YAML file to start from; with --json it is a JSON Schema of such files.
    """
    from llmrouter.suite import SuiteSettings

    if as_json:
        schema = SuiteSettings.model_json_schema()
        write_json(schema if section is None else _at(schema, section) | {"$defs": schema["$defs"]})
        return
    schema, values = SuiteSettings.model_json_schema(), SuiteSettings()
    typer.echo(_HEAD, nl=False)
    for name in SuiteSettings.model_fields:
        if section in (None, name):
            typer.echo(f"\n{name}:")
            for line in _lines(_at(schema, name), getattr(values, name)):
                typer.echo(f"  {line}" if line else "")


def _at(schema: dict[str, Any], section: str) -> dict[str, Any]:
    """Return the part of a section."""
    told = schema["properties"][section]
    named: dict[str, Any] = schema["$defs"][told["$ref"].rpartition("/")[2]]
    return named


def _lines(schema: dict[str, Any], values: Section) -> Iterator[str]:
    for name, value in values.model_dump(mode="json").items():
        about = schema["properties"][name]
        text = " ".join(about["description"].split())
        text = f"{text} ({bounds})" if (bounds := _bounds(about)) else text
        yield from textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield from yaml.safe_dump({name: value}, sort_keys=False, width=_WIDTH).splitlines()


def _bounds(about: dict[str, Any]) -> str:
    """Return what a value must be, where the schema bounds it."""
    if "enum" in about:
        return ", ".join(about["enum"])
    low, high = about.get("minimum"), about.get("maximum")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}" if isinstance(high, float) else f"{low} to {high}"
    if high is not None:
        return f"at most {high}"
    return ""
