"""One provider: its connections, its turns, and the events of its answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)

import aiohttp
from pydantic_core import to_json

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import ChoiceFinished, Delta, RequestContext
from llmrouter.common.merging import merged
from llmrouter.inference.remote.codec import Asked, Codec, Reading
from llmrouter.inference.remote.failures import refusal
from llmrouter.inference.remote.settings import ProviderSettings
from llmrouter.inference.remote.sse import EventReader

__all__ = ["Provider"]

_MAX_REFUSAL = 16 << 10
"""Bytes of a refusal that are read."""
_QUIET_SECONDS = 1.0
"""How long a provider is left alone that has no room and does not say for how long."""
_WAIT_SECONDS = 1.0
"""When to come back to a provider whose turns are all taken."""


class Provider:
    """Asks one provider. Made and used in one event loop, ended by `close`.

    Args:
        settings: Where it is and how long it is waited for.
        codec: Its API.
        key: What it knows us by; empty for none.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        settings: ProviderSettings,
        codec: Codec,
        key: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.codec = settings, codec
        self.running = 0
        self.waiting = 0
        self._key, self._clock = key, clock
        self._turns = asyncio.Semaphore(settings.max_concurrent)
        self._session: aiohttp.ClientSession | None = None
        self._quiet_until = 0.0

    async def events(
        self, asked: Asked, reading: Reading
    ) -> AsyncGenerator[Delta | ChoiceFinished | None]:
        """Give the events of an answer; None first, once the provider has begun it.

        Args:
            asked: What the codec made of the request.
            reading: Reads the answer to it.

        Raises:
            RouterError: CONTEXT_TOO_LONG; MODEL_UNAVAILABLE when it refuses our
                key or does not know the model; QUEUE_FULL when it has no room; UPSTREAM_UNAVAILABLE
                when it is not there, in trouble or breaks off; GENERATION_FAILED when it fails or
                sends what is no answer.
        """
        headers = {
            "accept": "text/event-stream",
            "content-type": "application/json",
            **self.codec.headers(self._key),
        }
        async with contextlib.AsyncExitStack() as stack:
            with self._failures_told():
                async with asyncio.timeout(self.settings.first_byte_seconds):
                    response = await stack.enter_async_context(
                        self._opened().post(
                            f"{self.settings.base_url.rstrip('/')}/{asked.path}",
                            data=to_json(asked.body),
                            headers=headers,
                            # Whoever a provider points to is not whom the key was given for.
                            allow_redirects=False,
                        )
                    )
                    await self._check(response)
            yield None
            pieces = self._pieces(response)
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    found, failure = self._read(piece, reading)
                    for event in merged(found):
                        yield event
                    if failure is not None:
                        raise failure
                    if reading.complete:
                        return

    @contextlib.asynccontextmanager
    async def turn(self, context: RequestContext) -> AsyncIterator[None]:
        """Wait for a turn and hold it.

        Raises:
            RouterError: QUEUE_FULL: as many wait as may, or the provider asked to be left alone;
                DEADLINE_EXCEEDED.
        """
        quiet = self._quiet_until - self._clock()
        if quiet > 0:
            told = f"{self.settings.name} asked to be left alone for {quiet:.1f} s"
            raise RouterError(Reason.QUEUE_FULL, told, retry_after=quiet)
        if self._turns.locked():
            await self._wait(context.remaining())
        else:
            await self._turns.acquire()  # at once
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._turns.release()

    async def _wait(self, remaining: float | None) -> None:
        if self.waiting >= self.settings.max_waiting:
            told = f"{self.settings.name} answers {self.running} requests and {self.waiting} wait"
            raise RouterError(Reason.QUEUE_FULL, told, retry_after=_WAIT_SECONDS)
        self.waiting += 1
        try:
            async with asyncio.timeout(remaining):
                await self._turns.acquire()
        except TimeoutError:
            told = f"the deadline passed while the request waited for {self.settings.name}"
            raise RouterError(Reason.DEADLINE_EXCEEDED, told) from None
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        """Let go of the connections; safe to call twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self.settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=settings.max_concurrent, ttl_dns_cache=30),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=None, sock_connect=settings.connect_seconds
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        """Refuse what is no stream of events."""
        if response.status != 200:
            body = await response.content.read(_MAX_REFUSAL)
            name, headers = self.settings.name, _lower(response.headers)
            error = refusal(name, response.status, headers, body, self._key)
            if error.reason is Reason.QUEUE_FULL:
                self._quiet_until = self._clock() + (error.retry_after or _QUIET_SECONDS)
            raise error
        if response.content_type != "text/event-stream":
            raise self._no_answer(f"{response.content_type} instead of a stream of events")

    def _read(
        self, piece: Iterable[str], reading: Reading
    ) -> tuple[list[Delta | ChoiceFinished], RouterError | None]:
        """Return what came at once, and what went wrong behind it."""
        found: list[Delta | ChoiceFinished] = []
        try:
            with self._nonsense_told():
                for data in piece:
                    found += reading.read(data)
                    if reading.complete:
                        break
        except RouterError as error:
            return found, error
        return found, None

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncGenerator[list[str]]:
        reader, stream = EventReader(), response.content.iter_any()
        while True:
            with self._failures_told():
                async with asyncio.timeout(self.settings.silence_seconds):
                    piece = await anext(stream, b"")
            if not piece:
                return
            with self._nonsense_told():
                events = reader.feed(piece)
            yield events

    @contextlib.contextmanager
    def _failures_told(self) -> Iterator[None]:
        name = self.settings.name
        try:
            yield
        except TimeoutError:
            told = f"{name} did not answer in time"
            raise RouterError(Reason.UPSTREAM_UNAVAILABLE, told) from None
        except (aiohttp.ClientError, OSError) as error:
            told = f"{name} cannot be asked: {type(error).__name__}"
            raise RouterError(Reason.UPSTREAM_UNAVAILABLE, told) from None

    @contextlib.contextmanager
    def _nonsense_told(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise self._no_answer(f"what is no event of its API ({type(error).__name__})") from None

    def _no_answer(self, what: str) -> RouterError:
        return RouterError(Reason.GENERATION_FAILED, f"{self.settings.name} sent {what}")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
