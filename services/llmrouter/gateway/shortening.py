"""Takes the eldest turns off a chat that fits no context, where its caller allows it.

It is done before planning, so that the cache knows an answer by what its model read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Attempt,
    Finished,
    GenerationEvent,
    GenerationRequest,
    Generator,
    Message,
    RequestContext,
    Started,
)
from llmrouter.common.truncation import Adjustment, Truncation
from llmrouter.gateway.history import eldest_turn, instructions

__all__ = ["Shortening", "shortened"]

_MAX_ROUNDS = 8
_FACTOR = 0.7
"""What is left of the text where nobody tells numbers, and of `max_tokens` each time."""
_MARGIN = 0.95
"""Of the room, which is filled: the share of a token that text takes differs from turn to turn."""
_ANSWER_TOKENS = 256
"""What is left free for answers without `max_tokens`."""


def shortened(request: GenerationRequest, error: RouterError) -> GenerationRequest | None:
    """Return the request with less to read, or fewer tokens to write; None where neither is left.

    Instructions at the beginning and the last turn stay; of the others the eldest go, each with its
    answer, at least one. Sizes go by the bytes per token that the refusal tells of.

    Args:
        request: What was too long.
        error: CONTEXT_TOO_LONG, with `prompt_tokens` and `context` where they are known.
    """
    tokens, context = (_number(error, name) for name in ("prompt_tokens", "context"))
    wanted = request.sampling.max_tokens
    known = tokens > 0 and context > 0
    room = _FACTOR
    if known:
        answer = min(wanted or _ANSWER_TOKENS, context // 2)
        room = _MARGIN * (context - answer) / tokens
    size = request.prompt_bytes
    kept = _without_eldest(request.messages, size - int(room * size))
    if len(kept) < len(request.messages):
        return replace(request, messages=kept)
    if wanted is None or (known and tokens >= context):
        return None
    fewer = int(wanted * _FACTOR)
    if fewer < max(1, request.sampling.min_tokens):
        return None
    return replace(request, sampling=replace(request.sampling, max_tokens=fewer))


def _without_eldest(messages: tuple[Message, ...], surplus: int) -> tuple[Message, ...]:
    """Return the messages without eldest turns: one, and more until `surplus` bytes are gone."""
    begin = instructions(messages)
    told, rest = messages[:begin], messages[begin:]
    while (gone := eldest_turn(rest)) < len(rest):
        surplus -= GenerationRequest(rest[:gone]).prompt_bytes
        rest = rest[gone:]
        if surplus <= 0:
            break
    return (*told, *rest)


class Shortening:
    """Asks again with less of the chat when it was too long; what was left out is told.

    Args:
        following: Plans and answers.
    """

    def __init__(self, following: Generator) -> None:
        self._following = following

    def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events on; where nothing may be left out, nothing stands in their way.

        Raises:
            RouterError: CONTEXT_TOO_LONG where too little can be left out.
        """
        if request.routing.truncation is Truncation.OFF:
            return self._following.generate(request, context)
        return self._shortening(request, context)

    async def _shortening(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        current: GenerationRequest | None = request
        tried: list[Attempt] = []
        rounds = _MAX_ROUNDS
        while current is not None:
            asked, current, sent = current, None, False
            change = _difference(request, asked)
            try:
                async with closing_stream(self._following.generate(asked, context)) as events:
                    async for event in events:
                        sent = True
                        yield event if change is None and not tried else _told(event, change, tried)
            except RouterError as error:
                if not sent and rounds > 0 and error.reason is Reason.CONTEXT_TOO_LONG:
                    current = shortened(asked, error)
                tried += [_adjusted(one, change) for one in error.attempts]
                if current is None:
                    error.attempts = tuple(tried)
                    if tried:
                        error.metadata["attempts"] = str(len(tried))
                    raise
                rounds -= 1


def _difference(request: GenerationRequest, asked: GenerationRequest) -> Adjustment | None:
    if asked is request:
        return None
    fewer = asked.sampling.max_tokens
    return Adjustment(
        len(request.messages) - len(asked.messages),
        0 if fewer is None or fewer == request.sampling.max_tokens else fewer,
    )


def _told(
    event: GenerationEvent, change: Adjustment | None, tried: list[Attempt]
) -> GenerationEvent:
    match event:
        case Started():
            return replace(event, dropped_messages=0 if change is None else change.dropped_messages)
        case Finished():
            own = tuple(_adjusted(one, change) for one in event.attempts)
            return replace(event, attempts=(*tried, *own))
        case _:
            return event


def _adjusted(one: Attempt, change: Adjustment | None) -> Attempt:
    if change is None:
        return one
    low = one.adjustment is not None and one.adjustment.low_priority
    return replace(one, adjustment=replace(change, low_priority=low))


def _number(error: RouterError, name: str) -> int:
    told = error.metadata.get(name, "")
    return int(told) if told.isdecimal() else 0
