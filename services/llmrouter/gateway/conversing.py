"""A conversation on one stream: turns one after another, each with what was said before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import structlog

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Delta,
    Finished,
    GenerationEvent,
    GenerationRequest,
    Message,
)
from llmrouter.gateway.history import History
from llmrouter.gateway.reply import Cancelled, Credit, Outcome, Reply

__all__ = ["Accepted", "Answerer", "Change", "Command", "Conversation", "GiveUp", "Grant", "Say"]

_MAX_WAITING = 16
_MAX_HEARD = 64
"""Turns that wait, those that are refused included; beyond it nothing more is heard."""
_log = structlog.get_logger("llmrouter.gateway.conversing")


@dataclass(frozen=True, slots=True)
class Change:
    """Other options for the turns after it."""

    options: GenerationRequest
    """A question without its messages."""


@dataclass(frozen=True, slots=True)
class Say:
    """Something is said."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A turn is of no use any more."""

    turn: int


@dataclass(frozen=True, slots=True)
class Grant:
    """So many more bytes of text may be sent."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """A turn begins to be answered."""

    forgotten: int
    """Messages that were forgotten so that it fits."""


Command = Change | Say | GiveUp | Grant
Answerer = Callable[[GenerationRequest, int], AsyncIterator[GenerationEvent]]
"""Answers a question, as the turn of this number."""


@dataclass(slots=True)
class _Turn:
    """One turn, from when it is said."""

    number: int
    said: tuple[Message, ...]
    options: GenerationRequest
    reply: Reply
    tokens: int = 0
    text: list[str] = field(default_factory=list)
    refused: RouterError | None = None
    given_up: bool = False


class Conversation:
    """Answers what is said, in order. Used once.

    Args:
        answer: Answers one question.
        max_bytes: Text that is remembered, what is asked next included.
        idle_seconds: How long nothing may be said or answered.
    """

    def __init__(self, answer: Answerer, max_bytes: int, idle_seconds: float) -> None:
        self._answer = answer
        self._idle_seconds = idle_seconds
        self._history = History(max_bytes)
        self._options = GenerationRequest()
        self._credit = Credit()
        self._said = 0
        self._open: dict[int, _Turn] = {}
        self._turns: asyncio.Queue[_Turn | RouterError | None] = asyncio.Queue(_MAX_HEARD)

    async def run(
        self, commands: AsyncIterator[Command]
    ) -> AsyncIterator[tuple[int, Accepted | Outcome]]:
        """Give what happens to each turn, by its number, until nothing more is said.

        Raises:
            RouterError: INVALID_ARGUMENT, a message of the caller's means nothing;
                DEADLINE_EXCEEDED, it was silent for too long.
        """
        hearing = asyncio.create_task(self._hear(commands))
        try:
            while True:
                turn = await self._next()
                if turn is None:
                    return
                if isinstance(turn, RouterError):
                    raise turn
                async with closing_stream(self._take(turn)) as outcomes:
                    async for outcome in outcomes:
                        yield turn.number, outcome
                del self._open[turn.number]
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _next(self) -> _Turn | RouterError | None:
        async with self._patience("said"):
            return await self._turns.get()

    @contextlib.asynccontextmanager
    async def _patience(self, what: str) -> AsyncIterator[None]:
        limit = asyncio.timeout(self._idle_seconds)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            told = f"nothing was {what} for {self._idle_seconds:g} s; begin another conversation"
            raise RouterError(Reason.DEADLINE_EXCEEDED, told) from None

    async def _hear(self, commands: AsyncIterator[Command]) -> None:
        try:
            async for command in commands:
                match command:
                    case Change(options):
                        self._options = options
                    case Grant(count):
                        self._credit.grant(count)
                    case GiveUp(number):
                        self._give_up(number)
                    case Say(messages):
                        await self._say(messages)
        except RouterError as error:
            await self._turns.put(error)
        else:
            await self._turns.put(None)

    async def _say(self, messages: tuple[Message, ...]) -> None:
        self._said += 1
        turn = _Turn(self._said, messages, self._options, Reply(self._credit))
        if len(self._open) > _MAX_WAITING:
            told = f"{_MAX_WAITING} turns wait already; say it again once one is answered"
            turn.refused, turn.said = RouterError(Reason.QUEUE_FULL, told), ()
        self._open[turn.number] = turn
        await self._turns.put(turn)

    def _give_up(self, number: int) -> None:
        turn = self._open.get(number)
        if turn is not None:
            turn.given_up = True
            turn.reply.end(Cancelled(turn.tokens))

    async def _take(self, turn: _Turn) -> AsyncIterator[Accepted | Outcome]:
        """Answer a turn and remember it."""
        try:
            if turn.refused is not None:
                raise turn.refused
            asked, forgotten = self._history.asking(turn.said)
        except RouterError as error:
            yield error
            return
        yield Accepted(forgotten)
        work = asyncio.create_task(self._generate(turn, asked))
        try:
            while True:
                async with self._patience("answered or taken"):
                    outcome = await turn.reply.take()
                if isinstance(outcome, Delta) and outcome.choice == 0:
                    turn.text.append(outcome.text)
                    turn.tokens += outcome.tokens
                if isinstance(outcome, Finished | Cancelled):
                    # Before it is told: what is said next is said with this.
                    self._history.keep(asked, "".join(turn.text))
                yield outcome
                if isinstance(outcome, Finished | Cancelled | RouterError):
                    return
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _generate(self, turn: _Turn, asked: tuple[Message, ...]) -> None:
        if turn.given_up:
            return
        request = replace(turn.options, messages=asked)
        try:
            async with closing_stream(self._answer(request, turn.number)) as events:
                async for event in events:
                    await turn.reply.put(event)
        except RouterError as error:
            turn.reply.end(error)
        except asyncio.CancelledError:
            if _being_cancelled():
                raise
            turn.reply.end(RouterError(Reason.CANCELLED, "the turn was given up"))
        except Exception:  # noqa: BLE001 - a defect ends the turn, not the conversation
            _log.exception("unexpected failure", turn=turn.number)
            told = "the gateway failed unexpectedly; its log says more"
            turn.reply.end(RouterError(Reason.INTERNAL, told))
        else:
            told = "the answer's stream ended before it was complete"
            turn.reply.end(RouterError(Reason.INTERNAL, told))


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
