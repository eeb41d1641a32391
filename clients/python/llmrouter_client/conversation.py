"""A conversation on one stream: say something, read the answer, go on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Self, Unpack

from grpc import aio

from llmrouter.v1 import gateway_pb2
from llmrouter_client.arguments import refused
from llmrouter_client.closing import Closing
from llmrouter_client.errors import LlmrouterError, from_rpc_error, from_status
from llmrouter_client.events import Delta, Event, event_from
from llmrouter_client.requests import Options, Prompt, request_from
from llmrouter_client.retrying import Retrying

__all__ = ["Conversation", "Turn"]


class Turn:
    """One turn and its answer: an asynchronous iterator of events.

    Attributes:
        number: From 1, in the order in which turns are said.
        forgotten: Messages that the conversation forgot so that this fits; once it was accepted.
        cancelled: Whether it was given up.
    """

    def __init__(self, conversation: Conversation, number: int) -> None:
        self.number = number
        self.forgotten = 0
        self.cancelled = False
        self._conversation = conversation
        self._held: deque[Event] = deque()
        self._over = False
        self._error: LlmrouterError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            LlmrouterError: This turn failed, and the conversation goes on; or all of it failed.
        """
        while not self._held and not self._over:
            await self._conversation._receive(self)  # noqa: SLF001 - the two are one
        if self._held:
            event = self._held.popleft()
            if isinstance(event, Delta):
                await self._conversation._took(event)  # noqa: SLF001 - the two are one
            return event
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def text(self) -> str:
        """Read the answer to its end and return its text, that of the first choice.

        Raises:
            LlmrouterError: As iterating does.
        """
        said = [event.text async for event in self if isinstance(event, Delta) and not event.choice]
        return "".join(said)

    async def cancel(self) -> None:
        """Give it up; what was sent of its answer stays part of the conversation.

        Raises:
            LlmrouterError: The conversation has failed.
        """
        cancel = gateway_pb2.CancelTurn(turn=self.number)
        await self._conversation._send(gateway_pb2.ConverseRequest(cancel=cancel))  # noqa: SLF001 - the two are one

    def _take(self, message: gateway_pb2.ConverseResponse) -> None:
        kind = message.WhichOneof("kind")
        if kind == "accepted":
            self.forgotten = message.accepted.forgotten_messages
        elif kind == "event":
            event = event_from(message.event)
            if event is not None:
                self._held.append(event)
            self._over = message.event.WhichOneof("event") == "finished"
        elif kind == "cancelled":
            self.cancelled = self._over = True
        elif kind == "failed":
            told = LlmrouterError("INTERNAL", message.failed.message or "it failed")
            self._error, self._over = from_status(message.failed) or told, True


class Conversation(Closing):
    """Turns on one stream; the gateway remembers what was said. Use it with `async with`.

    Turns may be said before the one before is answered: they are answered in order.
    """

    def __init__(
        self,
        dial: Callable[[Retrying], Any],
        retrying: Callable[[], Retrying],
        options: Options,
        window: int | None,
    ) -> None:
        self._dial = dial
        self._make_retrying = retrying
        self._address = ""
        self._options = options
        self._window = window
        self._taken = 0
        self._call: Any = None
        self._turns: dict[int, Turn] = {}
        self._said = 0
        self._reading = asyncio.Lock()

    async def aclose(self) -> None:
        """End the conversation; an answer still being generated is cancelled."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    async def say(self, prompt: Prompt) -> Turn:
        """Say a text, or messages, and return the turn, whose answer is its events.

        Raises:
            LlmrouterError: It is no text; the conversation has failed.
        """
        chat = request_from(prompt, {}).chat
        await self._open()
        self._said += 1
        turn = self._turns[self._said] = Turn(self, self._said)
        said = gateway_pb2.Turn(messages=chat.messages)
        await self._send(gateway_pb2.ConverseRequest(turn=said))
        return turn

    async def change(self, **options: Unpack[Options]) -> None:
        """Take other options for the turns that are said from here on, in place of all before.

        Raises:
            LlmrouterError: A value does not fit its field, or is of the whole conversation; then
                the conversation goes on in the second case alone.
        """
        for name in ("timeout", "compression"):
            if name in options:
                raise refused(name, "is of the whole conversation; give it to `converse`")
        self._options = options
        if self._call is not None:
            await self._send(_told(options))

    async def _open(self) -> None:
        if self._call is not None:
            return
        told = _told(self._options)
        asked = self._make_retrying()
        self._call = self._dial(asked)
        self._address = asked.address
        await self._send(told)
        if self._window is not None:
            credit = gateway_pb2.Credit(bytes=self._window)
            await self._send(gateway_pb2.ConverseRequest(credit=credit))

    async def _send(self, request: gateway_pb2.ConverseRequest) -> None:
        if self._call is None:
            raise LlmrouterError("CANCELLED", "the conversation has ended; begin another one")
        try:
            await self._call.write(request)
        except aio.AioRpcError as failed:
            raise from_rpc_error(failed, self._address) from None
        except asyncio.InvalidStateError:
            await self._receive(None)  # tells why it is over
            raise LlmrouterError("CANCELLED", "the conversation has ended") from None

    async def _receive(self, wanted: Turn | None) -> None:
        """Take in one message, unless somebody else has taken what is wanted meanwhile."""
        async with self._reading:
            if wanted is not None and (wanted._held or wanted._over):  # noqa: SLF001 - the two are one
                return
            if self._call is None:
                raise LlmrouterError("CANCELLED", "the conversation has ended; begin another one")
            try:
                message = await self._call.read()
            except aio.AioRpcError as failed:
                raise from_rpc_error(failed, self._address) from None
            if message is aio.EOF:
                raise LlmrouterError("CANCELLED", "the conversation ended before it was answered")
            turn = self._turns.get(message.turn)
            if turn is not None:
                turn._take(message)  # noqa: SLF001 - the two are one
                if turn._over:  # noqa: SLF001 - the two are one
                    del self._turns[message.turn]

    async def _took(self, delta: Delta) -> None:
        """Grant as much again as was taken, in pieces of half a window."""
        if self._window is None:
            return
        self._taken += len(delta.text.encode())
        if 2 * self._taken >= self._window and self._call is not None:
            credit, self._taken = gateway_pb2.Credit(bytes=self._taken), 0
            await self._send(gateway_pb2.ConverseRequest(credit=credit))


def _told(options: Options) -> gateway_pb2.ConverseRequest:
    request = request_from("-", options)
    return gateway_pb2.ConverseRequest(
        options=gateway_pb2.ConversationOptions(
            sampling=request.sampling,
            routing=request.routing,
            cache=request.cache,
            priority=request.priority,
        )
    )
