"""The way to a Redis or Valkey server that is used for as long as it is there, and found again.

For those who hold one client and work through what waits; whoever asks by the way, and must not
wait, has a link of another kind (`cache/shared_link.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from redis.exceptions import RedisError

from llmrouter.common.redis_options import connection_options
from llmrouter.common.redis_server import RedisSettings

__all__ = ["RedisLink"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_log = logging.getLogger(__name__)


class RedisLink:
    """Gives its user one client after another, with growing pauses while the server is away.

    Of one event loop, from `start` to `close`.
    """

    def __init__(
        self,
        settings: RedisSettings,
        field: str,
        use: Callable[[Redis], Awaitable[None]],
        lost: Callable[[], None] = lambda: None,
        *,
        text: bool = False,
    ) -> None:
        """Prepare it; nothing is dialled before `start`.

        Args:
            settings: Where the server is.
            field: Where they stand, as `selector.redis`.
            use: Uses a client until the server is lost, which it raises, or until `closing`; calls
                `found` once the server is there.
            lost: Told of each loss.
            text: Whether answers are text, not bytes.

        Raises:
            RouterError: STORE_FAILED when a file of the settings cannot be read.
        """
        self._settings, self._field = settings, field
        self._use, self._on_loss, self._text = use, lost, text
        self._options = connection_options(settings, field)
        self._joined = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.closing = False
        """Whether nothing more is to be waited for."""
        self.away = f"Redis at {settings.address} was not reached yet"
        """Why the server cannot be used; empty while it can."""

    async def start(self) -> bool:
        """Begin; returns once the server is in use, or False when it has not answered in time."""
        self._task = asyncio.create_task(self._keep_using(), name=self._field)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.timeout_seconds):
                await self._joined.wait()
        return not self.away

    async def close(self, waits: Callable[[], bool]) -> None:
        """End, once nothing waits any more that the server could take. Safe to call twice."""
        task, self._task = self._task, None
        if task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.timeout_seconds):
                while waits() and not self.away:  # noqa: ASYNC110 - emptied at once
                    await asyncio.sleep(0.01)
        self.closing = True
        while not task.done():
            # A connection may swallow a cancellation; then its user looks whether to end.
            task.cancel()
            await asyncio.wait({task}, timeout=_FIRST_PAUSE)

    def found(self) -> None:
        """Take in that the server is there."""
        if self.away:
            _log.info("%s: Redis at %s is in use", self._field, self._settings.address)
        self.away = ""
        self._joined.set()

    def lost(self, error: BaseException) -> None:
        """Take in that the server cannot be used."""
        why = str(error) or type(error).__name__
        if not self.away:
            _log.warning("%s: Redis at %s is lost: %s", self._field, self._settings.address, why)
        self.away = f"Redis at {self._settings.address} cannot be used ({why})"
        self._on_loss()

    async def _keep_using(self) -> None:
        pause = _FIRST_PAUSE
        while not self.closing:
            try:
                async with self._client() as client:
                    await self._use(client)
            except* Exception as errors:  # noqa: BLE001 - whoever waits for it must not wait in vain
                error = _first(errors)
                if not isinstance(error, RedisError | OSError | TimeoutError):
                    _log.error("%s: what came cannot be used", self._field, exc_info=error)
                self.lost(error)
            if self._joined.is_set():
                self._joined.clear()
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _client(self) -> Redis:
        settings = self._settings
        return Redis(
            db=settings.database,
            socket_connect_timeout=settings.timeout_seconds,
            socket_timeout=settings.timeout_seconds,
            decode_responses=self._text,
            **self._options,
        )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what went wrong first, however deep the tasks were."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
