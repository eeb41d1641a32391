"""A conversation on one stream; once that has ended, on another, which is told all of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

from llmrouter_client import (
    AsyncClient,
    Conversation,
    Delta,
    Event,
    LlmrouterError,
    Message,
    Options,
    Turn,
)

__all__ = ["Talk"]

_GRACE_SECONDS = 5.0
"""How long a turn that was given up may take to end before its stream is ended."""


class Talk:
    """What is said and answered, one turn after another.

    Args:
        client: Reaches the gateway.
        options: By which turns are answered; `timeout` is that of each.
        system: Instructions above it all; empty has none.
    """

    def __init__(self, client: AsyncClient, options: Options, system: str = "") -> None:
        self._client = client
        self.options = options
        self.said = [Message("system", system)] if system else []
        """All that was said and answered."""
        self.interrupted = False
        """Whether Ctrl-C ended the last answer."""
        self._late = False
        self._conversation: Conversation | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def change(self, options: Options) -> None:
        """Have turns from here on answered by other options.

        Raises:
            LlmrouterError: A value does not fit its field.
        """
        if self._conversation is not None:
            await self._conversation.change(**_of_turns(options))
        self.options = options

    async def answer(self, question: str) -> AsyncIterator[Event]:
        """Say something and give the events of its answer; Ctrl-C gives it up meanwhile.

        What came of an answer that was given up stays part of what was said. One that failed does
        not, nor what it was asked by.

        Raises:
            LlmrouterError: It failed, or took longer than `timeout`; the talk goes on.
        """
        asked, parts = Message("user", question), [""]
        self.interrupted = self._late = False
        try:
            turn = await self._say(asked)
            with self._watched(turn):
                async for event in turn:
                    if isinstance(event, Delta) and event.choice == 0:
                        parts.append(event.text)
                    yield event
        except LlmrouterError:
            await self.close()
            if not (self.interrupted or self._late):
                raise
        answered = [Message("assistant", "".join(parts))] if any(parts) else []
        self.said += [asked, *answered]
        if self._late:
            raise LlmrouterError("DEADLINE_EXCEEDED", "the deadline passed")

    async def close(self) -> None:
        """End the stream; the next turn begins another one."""
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            await conversation.aclose()

    async def _say(self, asked: Message) -> Turn:
        if self._conversation is not None:
            return await self._conversation.say([asked])
        self._conversation = self._client.converse(**_of_turns(self.options))
        return await self._conversation.say([*self.said, asked])

    @contextlib.contextmanager
    def _watched(self, turn: Turn) -> Iterator[None]:
        """Give the turn up at Ctrl-C or when its time is up; end its stream if that is in vain."""
        loop, timeout = asyncio.get_running_loop(), self.options.get("timeout")
        ending: list[asyncio.TimerHandle] = []

        def give_up() -> None:
            again = bool(ending)
            ending.append(loop.call_later(_GRACE_SECONDS, lambda: self._start(self.close())))
            self._start(self.close() if again else turn.cancel())

        def interrupt() -> None:
            self.interrupted = True
            give_up()

        def expire() -> None:
            self._late = True
            give_up()

        timer = None if timeout is None else loop.call_later(timeout, expire)
        with contextlib.suppress(RuntimeError, ValueError):  # of a thread that gets no signals
            loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            for one in (timer, *ending):
                if one is not None:
                    one.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            with contextlib.suppress(LlmrouterError):  # whoever reads is told
                await work

        task = asyncio.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _of_turns(options: Options) -> Options:
    """Return the options without what is the talk's own."""
    told = Options(**options)
    told.pop("timeout", None)
    return told
