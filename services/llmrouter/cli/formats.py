"""The flags of `generate` that say what the answer has to match."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrouter_client import Options, ResponseFormat

__all__ = ["Grammar", "JsonObject", "JsonSchema", "Regex", "asked"]

JsonObject = Annotated[bool, typer.Option("--json-object", help="Answer with a JSON object.")]
JsonSchema = Annotated[
    str | None,
    typer.Option(metavar="FILE|JSON", help="Answer with JSON that is valid by this schema."),
]
Regex = Annotated[
    str | None, typer.Option(help="Answer with text that matches this expression as a whole.")
]
Grammar = Annotated[
    Path | None,
    typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Answer by this Lark grammar."),
]


def asked(
    json_object: bool,
    json_schema: str | None,
    regex: str | None,
    grammar: Path | None,
) -> Options:
    """Return the format as the client takes it.

    Raises:
        typer.BadParameter: More than one flag, or a file that cannot be read.
    """
    formats = []
    if json_object:
        formats.append(ResponseFormat(json_object=True))
    if json_schema is not None:
        formats.append(ResponseFormat(json_schema=_schema(json_schema)))
    if regex is not None:
        formats.append(ResponseFormat(regex=regex))
    if grammar is not None:
        formats.append(ResponseFormat(grammar=_read(grammar, "--grammar")))
    if len(formats) > 1:
        told = "only one of --json-object, --json-schema, --regex and --grammar may be given"
        raise typer.BadParameter(told)
    return Options(response_format=formats[0] if formats else None)


def _schema(given: str) -> str:
    """Return a schema given as JSON or as the name of a file that holds it."""
    return given if given.lstrip().startswith("{") else _read(Path(given), "--json-schema")


def _read(file: Path, flag: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        told = f"{file} cannot be read: {error.strerror}"
        raise typer.BadParameter(told, param_hint=flag) from None
    except UnicodeDecodeError:
        told = f"{file} is not UTF-8 text; convert it, as with iconv"
        raise typer.BadParameter(told, param_hint=flag) from None
