"""How commands end: a sentence and exit 1 for a failure, 2 for wrong usage, 130 for Ctrl-C.

A wrong field of a request is told as the flag that set it.
"""

from __future__ import annotations

import errno
import re
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup
from typer.exceptions import TyperException

from llmrouter.cli.output import err, for_machines, write_json

__all__ = ["Commands"]

_INTERRUPTED = 130
_QUESTION = re.compile(r"^(chat\.messages|prompt)\b[\w.\[\]]*")
_FLAG = re.compile(r"^(?:sampling|routing|cache)\.(?:response_format\.)?([a-z_]+)(\[.*?\])?")
_CACHE = {"ttl": "--cache-ttl", "mode": "--cache", "tags": "--cache-tag"}
_NO_FLAG = frozenset({"response_format"})


class Commands(TyperGroup):
    """The top-level group; no exception leaves it as a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command and turn whatever it raises into an exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, TyperException):
            raise  # typer's own ways out
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except Exception as error:
            if _is_usage(error) or getattr(error, "errno", None) == errno.EPIPE:
                raise
            _tell(error, as_json=for_machines(ctx))
            raise typer.Exit(1) from None


def _tell(error: Exception, *, as_json: bool) -> None:
    if as_json:
        reason = getattr(error, "reason", None)
        write_json({"event": "error", "reason": reason, "message": _sentence(error)})
    else:
        err().print(f"[bold red]error:[/] {escape(_sentence(error))}", soft_wrap=True)


def _is_usage(error: Exception) -> bool:
    """Whether typer reports it itself, with exit 2: its click is private, so by its shape."""
    return hasattr(error, "format_message") and getattr(error, "exit_code", None) is not None


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    said = _by_flags(error) or " ".join(str(error).split())
    if (
        isinstance(error, ImportError | LookupError | TypeError | AttributeError | AssertionError)
        or not said
    ):
        return f"llmrouter failed unexpectedly ({type(error).__name__}: {said})"
    return said


def _by_flags(error: Exception) -> str:
    """Return what is wrong with a request in the words of the command line."""
    violations = getattr(error, "violations", ())
    return "; ".join(f"{_flag(one.field)} {one.description}" for one in violations)


def _flag(field: str) -> str:
    if _QUESTION.match(field):
        return "the question"
    found = _FLAG.match(field)
    if found is None or found[1] in _NO_FLAG:
        return field
    return _CACHE.get(found[1]) or f"--{found[1].replace('_', '-')}"
