"""`demo`: fetch the demo model, start the suite, answer a question, show the route."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llmrouter.cli.answering import show
from llmrouter.cli.models import tell_damaged
from llmrouter.cli.output import Json, err, out, report_progress, write_json
from llmrouter.cli.running import Config
from llmrouter.cli.stores import StorePath, open_store
from llmrouter.common.errors import RouterError
from llmrouter.common.settings import given_api_key
from llmrouter_client import AsyncClient

if TYPE_CHECKING:
    from llmrouter.inference.models.store import ModelStore

__all__ = ["demo"]

_MODEL = "smollm2-135m-instruct"
_PRECISIONS = ("int8", "int4", "fp32")
_QUESTION = "What is the capital of France? Answer in one sentence."
_ROUNDS = (
    ("the default strategy, balanced", None),
    ("quality first", "quality-first"),
    ("the same question again: from the cache", "quality-first"),
)
_NEXT = """
[bold]Try next[/]
  . .venv/bin/activate                                      [dim]once per shell, after make[/]
  llmrouter up                                              [dim]run the suite, then elsewhere:[/]
  llmrouter generate "Why is the sky blue?" --temperature 0 [dim]a question of your own[/]
  llmrouter chat --temperature 0                            [dim]a conversation[/]
  llmrouter select "Why is the sky blue?" --explain         [dim]every score behind a choice[/]
  llmrouter stats                                           [dim]what has been seen so far[/]"""


def demo(
    config: Config = None,
    store: StorePath = None,
    as_json: Json = False,
) -> None:
    """Fetch a model, start everything, answer a question."""
    _fetch(open_store(store, config), as_json=as_json)
    asyncio.run(_ask(config, store, as_json=as_json))
    if not as_json:
        out().print(_NEXT)


def _fetch(store: ModelStore, *, as_json: bool) -> None:
    if all(_is_held(store, f"{_MODEL}-{precision}") for precision in _PRECISIONS):
        return
    from llmrouter.inference.importers import run

    if not as_json:
        err().print(f"Fetching [bold]{_MODEL}[/] [dim](93 MB, once)[/]")
    with report_progress(as_json=as_json) as progress:
        told = partial(tell_damaged, on=progress.console, as_json=as_json)
        run.pull(_MODEL, store, None, progress, told, tell=progress.tell)


def _is_held(store: ModelStore, name: str) -> bool:
    try:
        store.model(name)
    except RouterError:  # missing, or plainly damaged: pulling says so
        return False
    return True


async def _ask(config: Path | None, store: Path | None, *, as_json: bool) -> None:
    from llmrouter import suite
    from llmrouter.common.logs import configure_logs

    # The route is shown below each answer; log lines between would only cut into it.
    configure_logs(json=False, level=logging.WARNING)
    if not as_json:
        err().print("[dim]Starting gateway, selector, cache and inference …[/]")
    async with (
        suite.running(config, ports="free", store=store) as addresses,
        AsyncClient(addresses.gateway, api_key=given_api_key()) as client,
    ):
        for title, strategy in _ROUNDS:
            if as_json:
                write_json({"event": "question", "question": _QUESTION, "strategy": strategy})
            else:
                err().print(f"\n[bold cyan]{_QUESTION}[/] [dim]({title})[/]")
            await show(
                client.stream(_QUESTION, temperature=0, strategy=strategy, max_tokens=64),
                as_json=as_json,
            )
