"""`batch`: many questions from a file, answered several at once."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from llmrouter.cli.answering import choice_data
from llmrouter.cli.asking import asking
from llmrouter.cli.failures import when_again
from llmrouter.cli.generate import MaxTokens, ModelName, Strategy, Temperature, Timeout, Urgency
from llmrouter.cli.output import Json, counted, err, report_progress, visible, write_json
from llmrouter.cli.places import Addresses, Place, gateways_at
from llmrouter_client import Message, Options, Question, Result

__all__ = ["batch"]

_SHOWN_CHARACTERS = 60
_PROMPTS = ("prompt", "messages")
_OPTIONS = frozenset(Options.__annotations__) - {"timeout"}


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the file."""

    question: Question
    id: Any = None

    def title(self) -> str:
        """Return the beginning of what is asked, on one line."""
        prompt = self.question.prompt
        said = prompt if isinstance(prompt, str) else prompt[-1].text if prompt else ""
        shown = " ".join(visible(said).split())
        return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 1]}…"


def batch(
    *,
    file: Annotated[str, typer.Argument(help="JSON Lines; - reads standard input.")],
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=64, help="Questions answered at once.")
    ] = None,
    model: ModelName = None,
    strategy: Strategy = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    priority: Urgency = None,
    address: Addresses = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Ask many questions; each answer is shown as soon as it is there.

    A line is a question as a JSON string, or an object with `prompt` or `messages`, an `id` that
    its result repeats, and options such as `temperature`, which stand above the flags.
    """
    lines = _read(file)
    options = Options(model=model, strategy=strategy, temperature=temperature, timeout=timeout)
    options.update(Options(max_tokens=max_tokens, priority=priority))
    failed = asyncio.run(_ask(gateways_at(address), lines, options, concurrency, as_json=as_json))
    if failed:
        raise typer.Exit(1)


async def _ask(
    gateway: Place,
    lines: Sequence[_Line],
    options: Options,
    concurrency: int | None,
    *,
    as_json: bool,
) -> int:
    """Ask, tell each result and the sum; return how many failed."""
    began, done, failed, tokens = time.perf_counter(), 0, 0, 0
    async with asking(gateway) as client:
        questions = [line.question for line in lines]
        with report_progress(as_json=as_json) as report:
            async with client.batch(questions, concurrency=concurrency, **options) as results:
                async for result in results:
                    done += 1
                    failed += result.error is not None
                    tokens += result.answer.usage.completion_tokens if result.answer else 0
                    _tell(lines[result.index], result, as_json=as_json)
                    report("answers", done, len(lines))
    seconds = time.perf_counter() - began
    if as_json:
        write_json({"event": "finished", "answered": done - failed, "failed": failed}
                   | {"completion_tokens": tokens, "seconds": round(seconds, 3)})  # fmt: skip
    else:
        told = f"{counted(done - failed, 'answer')}, {counted(tokens, 'token')} in {seconds:.1f} s"
        err().print(f"{told}; {failed} failed" if failed else told, markup=False)
    return failed


def _tell(line: _Line, result: Result, *, as_json: bool) -> None:
    if as_json:
        write_json(_data(line, result))
        return
    sys.stdout.write(f"--- {result.index + 1}: {line.title()} ---\n")
    if result.answer is not None:
        sys.stdout.write(f"{visible(result.answer.text)}\n")
    elif result.error is not None:
        sys.stdout.write(f"error: {visible(result.error.message)}{when_again(result.error)}\n")
    sys.stdout.flush()


def _data(line: _Line, result: Result) -> dict[str, object]:
    which = {"index": result.index} | ({} if line.id is None else {"id": line.id})
    if result.answer is None:
        reason, message = (result.error.reason, result.error.message) if result.error else ("", "")
        return {"event": "error", **which, "reason": reason, "message": message}
    told = asdict(result.answer)
    told["choices"] = [choice_data(choice) for choice in result.answer.choices]
    return {"event": "answer", **which, **told}


def _read(file: str) -> list[_Line]:
    """Return the questions of a file.

    Raises:
        typer.BadParameter: A line is wrong, or there is none.
        OSError: The file cannot be read.
    """
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except UnicodeError:
        raise _wrong("is not UTF-8 text; convert it, as with iconv") from None
    lines = [
        _line(number, one) for number, one in enumerate(text.split("\n"), start=1) if one.strip()
    ]
    if not lines:
        raise _wrong("has no line; give at least one question")
    return lines


def _line(number: int, text: str) -> _Line:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise _wrong(f"line {number} is no JSON: {error}") from None
    if isinstance(given, str):
        return _Line(Question(given))
    if not isinstance(given, dict) or sum(name in given for name in _PROMPTS) != 1:
        raise _wrong(f"line {number} must be a string, or an object with `prompt` or `messages`")
    options = {name: value for name, value in given.items() if name not in {*_PROMPTS, "id"}}
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise _wrong(f"line {number} has {unknown[0]!r}, which is no option of a question")
    prompt = given["prompt"] if "prompt" in given else _messages(number, given["messages"])
    return _Line(Question(prompt, cast("Options", options)), given.get("id"))


def _messages(number: int, given: Any) -> list[Message]:
    told = f'line {number} must have messages like {{"role": "user", "content": "Hello."}}'
    if not isinstance(given, list):
        raise _wrong(told)
    for one in given:
        if not isinstance(one, Mapping) or set(one) != {"role", "content"}:
            raise _wrong(told)
    return [Message(one["role"], one["content"]) for one in given]


def _wrong(told: str) -> typer.BadParameter:
    return typer.BadParameter(told, param_hint="FILE")
