"""The outermost link: one log line per request, refused and failed ones included."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import structlog

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheStatus,
    Delta,
    Finished,
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
    Started,
    Usage,
)

__all__ = ["Accounting", "refusals_accounted"]

_SPARED = frozenset({CacheStatus.HIT, CacheStatus.JOINED, CacheStatus.STALE, CacheStatus.SIMILAR})
"""Nothing was generated for this request."""
_log = structlog.get_logger("llmrouter.gateway")


@dataclass(slots=True)
class _Account:
    """What is learned of a request as its events pass; never its text."""

    began: float
    outcome: str = "OK"
    attempts: int = 0
    started: Started | None = None
    finished: Finished | None = None
    first_delta: float | None = None
    streamed_tokens: int = 0

    def see(self, event: GenerationEvent) -> None:
        """Learn from one event."""
        match event:
            case Delta():
                if self.first_delta is None:
                    self.first_delta = time.monotonic() - self.began
                self.streamed_tokens += event.tokens
            case Started():
                self.started = event
                self.attempts = 0 if event.cache in _SPARED else 1
            case Finished():
                self.finished = event
                joined = self.started is not None and self.started.cache in _SPARED
                self.attempts = 0 if joined else len(event.attempts)

    def failed(self, error: RouterError) -> None:
        """Learn from the error that ended the request."""
        self.outcome = error.reason.value
        tried = error.metadata.get("attempts", "")
        self.attempts = int(tried) if tried.isdecimal() else self.attempts

    @property
    def usage(self) -> Usage:
        """What was used: as the engine summed it up, else as far as the stream came."""
        if self.finished is not None:
            return self.finished.usage
        read = self.started.prompt_tokens if self.started is not None else 0
        return Usage(read, self.streamed_tokens)

    def left(self, context: RequestContext) -> None:
        """Learn that the caller went away, or that its deadline passed."""
        if self.finished is None:
            late = context.remaining() == 0
            self.outcome = (Reason.DEADLINE_EXCEEDED if late else Reason.CANCELLED).value


class Accounting:
    """Accounts for every request that passes."""

    def __init__(self, following: Generator) -> None:
        self._following = following

    async def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events on and write one line at the end, however it ends."""
        account = _Account(time.monotonic())
        try:
            async with closing_stream(self._following.generate(request, context)) as events:
                async for event in events:
                    account.see(event)
                    yield event
        except RouterError as error:
            account.failed(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            account.left(context)
            raise
        except Exception:
            account.outcome = Reason.INTERNAL.value
            raise
        finally:
            with contextlib.suppress(Exception):  # a log that cannot be written fails no request
                _write(account, context)


@contextlib.contextmanager
def refusals_accounted(context: RequestContext) -> Iterator[None]:
    """Write the line of a request that is refused before it can enter the chain."""
    account = _Account(time.monotonic())
    try:
        yield
    except RouterError as error:
        account.failed(error)
        with contextlib.suppress(Exception):
            _write(account, context)
        raise


def _write(account: _Account, context: RequestContext) -> None:
    started, usage = account.started, account.usage
    first = account.first_delta
    _log.info(
        "request",
        request_id=context.request_id,
        tenant=context.tenant,
        model=started.model if started else "",
        version=started.version if started else "",
        cache=started.cache.value if started else "",
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        ttft_seconds=None if first is None else round(first, 6),
        total_seconds=round(time.monotonic() - account.began, 6),
        outcome=account.outcome,
        attempts=account.attempts,
    )
