"""How commands end: a sentence and exit 1 for a failure, 2 for wrong usage, 130 for Ctrl-C.

Wrong usage is what is wrong with the command line itself, whoever finds it: typer, a command, or
the service that refuses what it was sent. That a name is not known where it is looked up, or that
the settings are wrong, is a failure. Fields of a request are told as the flags that set them.
With --json each is one object on standard output, `reason` INVALID_ARGUMENT for wrong usage.
"""

from __future__ import annotations

import errno
import math
import re
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup
from typer.exceptions import TyperException

from llmrouter.cli.output import err, for_machines, note_wish, time_allowed, write_json

__all__ = ["Commands", "violations_said", "when_again"]

_INTERRUPTED = 130
_QUESTION = re.compile(r"^(chat\.messages|prompt)\b[\w.\[\]]*")
_FLAG = re.compile(r"^(?:sampling|routing|cache)\.(?:response_format\.)?([a-z_]+)(\[.*?\])?")
_CACHE = {
    "ttl": "--cache-ttl",
    "mode": "--cache",
    "tags": "--cache-tag",
    "pace": "--cache-pace",
    **{name: f"--cache-allow {name}" for name in ("drawn", "stale", "similar")},
}
_NO_FLAG = frozenset({"response_format"})
_OF_MODELS = {
    "precision": "--precision",
    "sha256": "--sha256",
    "positions": "--positions",
    "aliases": "--alias",
}
"""Of what is refused of models; the path to import from has no flag."""
_FIELDS_SAID = re.compile(
    r"(?<![\w.'\"/-])(?:sampling\.|routing\.)?(logit_bias|max_tokens|min_tokens|top_k|top_p|min_p"
    r"|top_logprobs|logprobs|repetition_penalty|presence_penalty|frequency_penalty|truncate)"
    r"(?![\w'\"/-])"
)
_ONE_OF_MANY = re.compile(r"^requests\[(\d+)\]$")
_TEXT_SAID = re.compile(r"\btexts\[(\d+)\]")
_WRONG_USAGE = 2
_UNITS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"), (1, "s"))
_SEVERAL = 2
"""Of a unit at least, for a time to be told in it."""
_WRITERS = ("rich.", "typer.", "llmrouter.cli.")
"""Modules that write to standard output, and to files only where they tell of it themselves."""
_USAGE = "INVALID_ARGUMENT"


class Commands(TyperGroup):
    """The top-level group; no exception leaves it as a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, after its wish for JSON: what is wrong with it is told so too."""
        note_wish(ctx, args)
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            _end_usage(ctx, error)
            raise
        except OSError as error:  # --version and --help write
            if error.errno == errno.EPIPE or not _of_output(error):
                raise
            _tell(error, _sentence(error), as_json=False)
            raise typer.Exit(1) from None

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command and turn whatever it raises into an exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except TyperException as error:
            _end_usage(ctx, error)
            raise  # typer tells it itself
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except Exception as error:
            if getattr(error, "errno", None) == errno.EPIPE:
                raise
            sentence = _sentence(error)
            if _reason(error) == "DEADLINE_EXCEEDED" and _takes_timeout(ctx):
                sentence += "; --timeout sets how long it may take" + _allowed(ctx)
            _tell(error, sentence, as_json=for_machines(ctx) and not _of_output(error))
            usage = _reason(error) == _USAGE
            raise typer.Exit(_WRONG_USAGE if usage else 1) from None


def _end_usage(ctx: Any, error: TyperException) -> None:
    """End the program if machines read it; people are told by typer, with how to get help."""
    error.message = error.message.replace("Value error, ", "")  # a library's word, not ours
    if for_machines(ctx):
        write_json(_data(_USAGE, error.format_message()))
        raise typer.Exit(error.exit_code) from None


def _reason(error: Exception) -> str | None:
    reason = getattr(error, "reason", None)
    return None if reason is None else str(reason)


def _takes_timeout(ctx: Any) -> bool:
    command = ctx.command.get_command(ctx, ctx.invoked_subcommand)
    return any(one.name == "timeout" for one in getattr(command, "params", ()))


def _allowed(ctx: Any) -> str:
    seconds = time_allowed(ctx)
    return "" if seconds is None else f", {seconds:g} s this time"


def _tell(error: Exception, sentence: str, *, as_json: bool) -> None:
    if as_json:
        pause = getattr(error, "retry_after", None)
        wait = {} if pause is None else {"retry_after": pause}
        write_json(_data(_reason(error), sentence) | wait)
    else:
        err().print(f"[bold red]error:[/] {escape(sentence)}{when_again(error)}", soft_wrap=True)


def _data(reason: str | None, sentence: str) -> dict[str, object]:
    return {"event": "error", "reason": reason, "message": sentence}


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        if _of_output(error):
            return f"standard output could not be written: {error.strerror}"
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    said = violations_said(error) or " ".join(str(error).split())
    said = said if _reason(error) is None else _in_flags(said)
    if (
        isinstance(error, ImportError | LookupError | TypeError | AttributeError | AssertionError)
        or not said
    ):
        return f"llmrouter failed unexpectedly ({type(error).__name__}: {said})"
    return said


def _of_output(error: Exception) -> bool:
    """Whether it was writing to standard output that failed: nothing else is written from there."""
    if not isinstance(error, OSError) or error.filename or error.__traceback__ is None:
        return False
    deepest = error.__traceback__
    while deepest.tb_next is not None:
        deepest = deepest.tb_next
    return str(deepest.tb_frame.f_globals.get("__name__", "")).startswith(_WRITERS)


def when_again(error: Exception) -> str:
    """Return what ends the sentence of an error that says when to come back; empty for others."""
    pause = getattr(error, "retry_after", None)
    if pause is None or "ask again" in str(error):
        return ""
    size, unit = next((one for one in _UNITS if pause >= _SEVERAL * one[0]), _UNITS[-1])
    return f"; ask again in {max(1, math.ceil(pause / size))} {unit}"


def violations_said(error: Exception, mark: str = "--") -> str:
    """Return what is wrong with a request in the words of the command line; empty if no field is.

    Args:
        error: Whose violations name fields of the protos.
        mark: What stands before the name of an option; a slash in a chat.
    """
    violations = getattr(error, "violations", ())
    return "; ".join(f"{_flag(one.field, mark)} {one.description}" for one in violations)


def _in_flags(sentence: str) -> str:
    """Return a service's sentence with the fields it speaks of as flags; quotations stay."""
    said = _TEXT_SAID.sub(lambda found: f"text {int(found[1]) + 1}", sentence)
    return _FIELDS_SAID.sub(lambda found: f"--{found[1].replace('_', '-')}", said)


def _flag(field: str, mark: str) -> str:
    if _QUESTION.match(field):
        return "the question"
    one = _ONE_OF_MANY.match(field)
    if one is not None:
        return f"question {int(one[1]) + 1}:"
    if field in _OF_MODELS:
        return _OF_MODELS[field]
    found = _FLAG.match(field)
    if found is None or found[1] in _NO_FLAG:
        return field
    return _CACHE.get(found[1]) or f"{mark}{found[1].replace('_', '-')}"
