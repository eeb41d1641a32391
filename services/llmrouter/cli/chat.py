"""`chat`: a conversation of many turns."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer
from rich.markup import escape

from llmrouter.cli.answering import show
from llmrouter.cli.asking import asking, check
from llmrouter.cli.generate import (
    MaxTokens,
    ModelName,
    Seed,
    Strategy,
    Temperature,
    Timeout,
)
from llmrouter.cli.output import Json, err, out
from llmrouter.cli.places import Address, Place, gateway_at
from llmrouter_client import LlmrouterError, Message, Options

__all__ = ["chat"]

_QUIT = frozenset({"/quit", "/exit"})


def chat(
    *,
    model: ModelName = None,
    strategy: Strategy = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    timeout: Timeout = None,
    system: Annotated[str | None, typer.Option(help="Instructions above it all.")] = None,
    address: Address = None,
    route: Annotated[bool, typer.Option(help="Show the route of every answer.")] = False,
    as_json: Json = False,
) -> None:
    """Talk; /quit or Ctrl-D ends, Ctrl-C stops the running answer."""
    options = Options(model=model, strategy=strategy, temperature=temperature, seed=seed)
    options.update(Options(max_tokens=max_tokens, timeout=timeout))
    gateway = gateway_at(address)
    turns = [Message("system", system)] if system else []
    if not as_json and sys.stdin.isatty():
        err().print("[dim]/quit or Ctrl-D ends, Ctrl-C stops the running answer[/]")
    with asyncio.Runner() as runner:
        while (question := _ask(as_json=as_json)) is not None:
            if not question.strip():
                continue
            turns.append(Message("user", question))
            work = _answer(gateway, turns, options, as_json=as_json, route=route)
            try:
                turns.append(Message("assistant", runner.run(work)))
            except KeyboardInterrupt:
                turns.pop()
                err().print("[yellow]stopped[/]")
            except LlmrouterError as error:
                turns.pop()
                if not sys.stdin.isatty():  # a script wants to know, a person may try again
                    raise
                err().print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)


def _ask(*, as_json: bool) -> str | None:
    """Return the next question; None at the end."""
    prompt = "" if as_json or not sys.stdin.isatty() else "[bold cyan]you>[/] "
    try:
        question = out().input(prompt)
    except EOFError:
        return None
    return None if question.strip() in _QUIT else question


async def _answer(
    gateway: Place, turns: list[Message], options: Options, *, as_json: bool, route: bool
) -> str:
    check(turns, options)
    async with asking(gateway) as client:
        return await show(client.stream(turns, **options), as_json=as_json, route=route)
