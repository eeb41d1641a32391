"""`chat`: a conversation of many turns on one stream."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from llmrouter.cli.answering import show_events
from llmrouter.cli.asking import check, explaining
from llmrouter.cli.failures import violations_said, when_again
from llmrouter.cli.generate import (
    MaxTokens,
    ModelName,
    Seed,
    Strategy,
    Temperature,
    Timeout,
)
from llmrouter.cli.output import Json, err, out
from llmrouter.cli.places import Addresses, Place, gateways_at
from llmrouter.cli.slash import Changed, Quit, Told, Wrong, obey
from llmrouter.cli.talking import Talk
from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import RouterError
from llmrouter.common.settings import given_api_key
from llmrouter_client import AsyncClient, LlmrouterError, Message, Options

__all__ = ["chat"]

Truncating = Annotated[
    Literal["off", "auto"] | None,
    typer.Option("--truncation", help="auto leaves eldest turns out of a chat that is too long."),
]


def chat(
    *,
    model: ModelName = None,
    strategy: Strategy = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    truncation: Truncating = None,
    timeout: Timeout = None,
    system: Annotated[str | None, typer.Option(help="Instructions above it all.")] = None,
    address: Addresses = None,
    route: Annotated[bool, typer.Option(help="Show the route of every answer.")] = False,
    as_json: Json = False,
) -> None:
    """Talk; /help lists commands, Ctrl-D ends, Ctrl-C gives the running answer up.

    What is piped in ends at the first line that fails or is wrong, which is named.
    """
    options = Options(model=model, strategy=strategy, temperature=temperature, seed=seed)
    options.update(Options(max_tokens=max_tokens, truncation=truncation, timeout=timeout))
    check("-", options)
    gateway = gateways_at(address)
    if not as_json and sys.stdin.isatty():
        err().print("[dim]/help lists commands, Ctrl-D ends, Ctrl-C gives the answer up[/]")
    with asyncio.Runner() as runner:
        client = AsyncClient(gateway.addresses, api_key=given_api_key(), tls=gateway.tls)
        talk = Talk(client, options, system or "")
        try:
            number = 0
            while (line := _ask(as_json=as_json)) is not None:
                number += 1
                work = _take(line, talk, gateway, as_json=as_json, route=route)
                if not _told(runner, work, number):
                    break
        finally:
            runner.run(_end(talk, client))


def _ask(*, as_json: bool) -> str | None:
    """Return the next line; None at the end."""
    prompt = "" if as_json or not sys.stdin.isatty() else "[bold cyan]you>[/] "
    try:
        return out().input(prompt)
    except EOFError:
        return None


class _WrongLineError(Exception):
    """A command that cannot be obeyed, told in the words of the chat."""


def _told(runner: asyncio.Runner, work: Coroutine[Any, Any, bool], number: int) -> bool:
    """Do what line `number` asks for; return whether the chat goes on."""
    alone = not sys.stdin.isatty()  # a script wants to know, a person may try again
    try:
        return runner.run(work)
    except _WrongLineError as error:
        if alone:
            told = f"line {number}: {error}; nothing after it was read"
            raise typer.BadParameter(told, param_hint="standard input") from None
        err().print(escape(str(error)), soft_wrap=True)
    except (LlmrouterError, RouterError) as error:
        if alone:
            raise
        said = violations_said(error, "/") or error.message
        err().print(f"[bold red]error:[/] {escape(said)}{when_again(error)}", soft_wrap=True)
    return True


async def _take(line: str, talk: Talk, gateway: Place, *, as_json: bool, route: bool) -> bool:
    """Do what a line asks for; return whether the chat goes on."""
    if not line.strip():
        return True
    match obey(line, talk.options):
        case Quit():
            return False
        case Told(text):
            err().print(escape(text), soft_wrap=True)
        case Wrong(text):
            raise _WrongLineError(text)
        case Changed(options):
            try:
                check("-", options)
            except (LlmrouterError, RouterError) as error:
                raise _WrongLineError(violations_said(error, "/") or error.message) from None
            with explaining(gateway):
                await talk.change(options)
        case None:
            question = line.lstrip().removeprefix("/") if line.lstrip().startswith("//") else line
            check([*talk.said, Message("user", question)], talk.options)
            with explaining(gateway):
                async with closing_stream(talk.answer(question)) as events:
                    await show_events(events, as_json=as_json, route=route)
            if talk.interrupted:
                err().print("[yellow]stopped[/]")
    return True


async def _end(talk: Talk, client: AsyncClient) -> None:
    await talk.close()
    await client.close()
