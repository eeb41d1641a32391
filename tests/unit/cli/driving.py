"""The command line as a caller drives it, in this process or as a program."""

from __future__ import annotations

import json
import sys
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from llmrouter.cli.__main__ import app

AWAY = "127.0.0.1:1"
"""An address where nothing answers."""

COMMAND = (sys.executable, "-m", "llmrouter.cli")


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command; a failure that would show a traceback fails the test."""
    result = CliRunner().invoke(app, arguments, input=stdin)
    assert isinstance(result.exception, SystemExit | None), "it would show a traceback"
    return result


def lines(result: Result) -> list[dict[str, Any]]:
    """Return the JSON objects that a command wrote, one per line."""
    return [json.loads(line) for line in result.stdout.split("\n") if line]
