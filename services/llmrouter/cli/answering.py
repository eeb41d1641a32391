"""Shows one streamed answer: the text as it comes, then the route it took."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

import typer
from rich.markup import escape

from llmrouter.cli.output import counted, err, facts, show_table, visible, write_json
from llmrouter.common.money import dollars
from llmrouter_client import (
    Attempt,
    Choice,
    ChoiceFinished,
    Delta,
    Event,
    Finished,
    Started,
    Stream,
    Switched,
    TokenLogprob,
    TopLogprob,
)

__all__ = ["Route", "choice_data", "event_data", "show", "show_events"]

_NAMES = {
    Started: "started",
    Delta: "delta",
    ChoiceFinished: "choice_finished",
    Finished: "finished",
    Switched: "switched",
}
_CACHE = {
    "hit": "[green]hit[/] (answered from cache)",
    "joined": "[green]joined[/] (an identical request was being answered)",
    "similar": "[green]similar[/] (answered from cache, to a question that means the same)",
    "stale": "[yellow]stale[/] (no model could answer)",
    "miss": "miss",
    "bypassed": "not asked",
    "unavailable": "[yellow]did not answer[/]",
}


class Route:
    """What is learned of an answer while it streams, with the reader's own clock."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._first: float | None = None
        self._total = 0.0
        self.text = ""
        """Of the first choice, which is shown as it comes."""
        self.others: dict[int, str] = {}
        self._started: Started | None = None
        self._end: ChoiceFinished | None = None
        self._switched: list[Switched] = []
        self._finished: Finished | None = None

    def take(self, event: Event) -> None:
        """Take in one event."""
        now = time.perf_counter() - self._began
        if isinstance(event, Started):
            self._started = event
        elif isinstance(event, Delta):
            self._first = now if self._first is None else self._first
            self._say(event)
        elif isinstance(event, ChoiceFinished):
            self._end = event if event.choice == 0 else self._end
        elif isinstance(event, Switched):
            self._switched.append(event)
        else:
            self._finished, self._total = event, now

    def _say(self, delta: Delta) -> None:
        if delta.choice == 0:
            self.text += delta.text
        else:
            self.others[delta.choice] = self.others.get(delta.choice, "") + delta.text

    def rows(self) -> dict[str, str]:
        """Return the route as names and values with markup."""
        rows: dict[str, str] = {}
        if self._started is not None:
            version = f" [dim]@ {escape(self._started.version)}[/]" if self._started.version else ""
            rows["model"] = f"[bold]{escape(visible(self._started.model))}[/]{version}"
            rows["why"] = escape(visible(self._started.reason))
            rows["cache"] = _cache(self._started)
            dropped = self._started.dropped_messages
            rows["left out"] = f"the eldest {counted(dropped, 'message')}" if dropped else ""
        if self._switched:
            rows["switched"] = "; ".join(map(_switch, self._switched))
        if self._first is not None:
            rows["first token"] = f"{self._first * 1000:.0f} ms"
        if self._finished is not None:
            rows["speed"] = self._speed(self._finished)
            rows["attempts"] = _attempts(self._finished.attempts)
            cost = self._finished.cost
            rows["cost"] = dollars(cost) if cost else ""
        if self._end is not None and self._end.reason != "stop":
            rows["ended by"] = self._end.reason
        if self._started is not None and self._started.plan_id:
            rows["plan"] = f"[dim]{escape(visible(self._started.plan_id))}[/]"
        return {name: value for name, value in rows.items() if value}

    def _speed(self, finished: Finished) -> str:
        tokens, decode = finished.usage.completion_tokens, finished.timings.decode
        if self._started is not None and self._started.cached:
            return ""
        rate = f"{(tokens - 1) / decode:.0f} tokens/s, " if decode > 0 else ""
        return f"{rate}{counted(tokens, 'token')} in {self._total:.2f} s"


async def show(stream: Stream, *, as_json: bool, route: bool = True) -> str:
    """Write an answer as it comes and return its text.

    Args:
        stream: The answer; closed at the end, whatever happens.
        as_json: Write one JSON object per event to standard output.
        route: Write the route to standard error afterwards.

    Raises:
        LlmrouterError: The request was refused, or its stream broke off.
    """
    async with stream:
        return await show_events(stream, as_json=as_json, route=route)


async def show_events(events: AsyncIterator[Event], *, as_json: bool, route: bool = True) -> str:
    """Write an answer as its events come and return its text; arguments as those of `show`.

    Raises:
        LlmrouterError: As `show`.
    """
    told = Route()
    try:
        async for event in events:
            told.take(event)
            _write(event, as_json=as_json)
    finally:
        if told.text and not as_json:
            typer.echo()
    if not as_json:
        for choice, text in sorted(told.others.items()):
            typer.echo(f"\n--- answer {choice + 1} ---\n{visible(text)}")
    if route and not as_json:
        show_table(facts(told.rows()), on=err())
    return told.text


def event_data(event: Event) -> dict[str, object]:
    """Return the event as plain data with its kind under `event`."""
    data: dict[str, object] = {"event": _NAMES[type(event)], **asdict(event)}
    if isinstance(event, Delta):
        del data["logprobs"]
        data |= _told_logprobs(event.logprobs)
    return data


def choice_data(choice: Choice) -> dict[str, object]:
    """Return a whole choice as plain data; log probabilities where they were asked for."""
    told = {"text": choice.text, "finish_reason": choice.finish_reason, "stop": choice.stop}
    return told | _told_logprobs(choice.logprobs)


def _told_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, object]:
    if not logprobs:
        return {}
    told = [
        {**_logprob_data(one), "top_logprobs": [_logprob_data(top) for top in one.top]}
        for one in logprobs
    ]
    return {"logprobs": told}


def _logprob_data(one: TokenLogprob | TopLogprob) -> dict[str, object]:
    """Return a token's log probability under the names of the OpenAI API."""
    text = one.bytes.decode(errors="replace")
    told = {"token": text, "bytes": list(one.bytes), "logprob": one.logprob}
    return {"token_id": one.token_id, **told}


def _write(event: Event, *, as_json: bool) -> None:
    if as_json:
        write_json(event_data(event))
    elif isinstance(event, Delta) and event.choice == 0:
        typer.echo(visible(event.text), nl=False)


def _cache(started: Started) -> str:
    told = _CACHE.get(started.cache, started.cache)
    where = {
        "gateway": "the gateway's memory",
        "memory": "the cache's memory",
        "disk": "the cache's disk",
        "shared": "the store that caches share",
    }
    if started.similarity:
        told = f"{told}, {started.similarity:.2f} similar"
    return f"{told}, from {where[started.level]}" if started.level in where else told


def _switch(one: Switched) -> str:
    lost, now = escape(visible(one.from_model)), escape(visible(one.model))
    where = f" [dim]({escape(one.address)})[/]" if one.address else ""
    return f"{lost} was lost after {counted(one.tokens, 'token')}, {now}{where} went on"


def _attempts(attempts: tuple[Attempt, ...]) -> str:
    told = []
    for one in attempts:
        at = f" [dim]({escape(one.address)})[/]" if one.address else ""
        cost = f" for {dollars(one.cost)}" if one.cost else ""
        told.append(f"{escape(one.model)} {_outcome(one)}{cost}{at}")
    return ", then ".join(told)


def _outcome(one: Attempt) -> str:
    if one.error_reason:
        return f"[red]{escape(one.error_reason)}[/]"
    if one.set_aside:
        return f"[yellow]set aside[/] ({escape(visible(one.set_aside))})"
    return "[green]answered[/]"
