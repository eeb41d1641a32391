"""The outermost link: tells of every request, refused and failed ones included."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import structlog

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    Finished,
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
    Started,
    Usage,
)
from llmrouter.gateway.record import LONGEST_ASKED, SPARED, RequestObserver, RequestRecord

__all__ = ["Accounting", "refusals_accounted"]

_log = structlog.get_logger("llmrouter.gateway")


@dataclass(slots=True)
class _Account:
    """What is learned of a request as its events pass; never its text."""

    began: float
    outcome: str = "OK"
    attempts: int = 0
    started: Started | None = None
    finished: Finished | None = None
    operation: str = ""
    asked: str = ""
    first_delta: float | None = None
    last_delta: float = 0.0
    streamed_tokens: int = 0
    first_tokens: int = 0
    finish_reasons: tuple[str, ...] = ()

    def see(self, event: GenerationEvent) -> None:
        """Learn from one event."""
        match event:
            case Delta():
                self.last_delta = time.monotonic() - self.began
                if self.first_delta is None:
                    self.first_delta, self.first_tokens = self.last_delta, event.tokens
                self.streamed_tokens += event.tokens
            case ChoiceFinished():
                self.finish_reasons = (*self.finish_reasons, event.reason.value)
            case Started():
                self.started = event
                self.attempts = 0 if event.cache in SPARED else 1
            case Finished():
                self.finished = event
                joined = self.started is not None and self.started.cache in SPARED
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

    @property
    def per_token(self) -> float | None:
        """Seconds between two tokens after the first ones; None where none followed."""
        later = self.streamed_tokens - self.first_tokens
        if self.first_delta is None or later <= 0:
            return None
        return (self.last_delta - self.first_delta) / later

    def left(self, context: RequestContext) -> None:
        """Learn that the caller went away, or that its deadline passed."""
        if self.finished is None:
            late = context.remaining() == 0
            self.outcome = (Reason.DEADLINE_EXCEEDED if late else Reason.CANCELLED).value


class Accounting:
    """Accounts for every request that passes.

    Args:
        following: Answers.
        observers: Told of each, beside the log.
    """

    def __init__(self, following: Generator, observers: Sequence[RequestObserver] = ()) -> None:
        self._following = following
        self._observers = observers

    async def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Pass the events on and tell of the request at the end, however it ends."""
        account = _Account(time.monotonic())
        account.operation = "chat" if request.messages else "text_completion"
        account.asked = request.routing.model[:LONGEST_ASKED]
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
                _tell(account, context, self._observers)


class refusals_accounted:  # noqa: N801 - used as a function, as contextlib's own are
    """Tell of a request that is refused before it can enter the chain.

    A class, because every request passes two and a generator-based manager costs several times as
    much.
    """

    __slots__ = ("_began", "_context", "_observers")

    def __init__(self, context: RequestContext, observers: Sequence[RequestObserver] = ()) -> None:
        self._context, self._observers = context, observers
        self._began = time.monotonic()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, RouterError):
            account = _Account(self._began)
            account.failed(error)
            with contextlib.suppress(Exception):
                _tell(account, self._context, self._observers)


def _tell(account: _Account, context: RequestContext, observers: Sequence[RequestObserver]) -> None:
    record = _record(account, context)
    _write(record)
    for observer in observers:
        observer.ended(record)


def _record(account: _Account, context: RequestContext) -> RequestRecord:
    started = account.started
    plan_id, reason = context.bill.plan if context.bill is not None else ("", "")
    if started is not None:
        plan_id, reason = started.plan_id, started.reason
    return RequestRecord(
        operation=account.operation,
        request_id=context.request_id,
        tenant=context.tenant,
        user=context.user,
        credential=context.credential,
        bill=context.bill,
        outcome=account.outcome,
        seconds=time.monotonic() - account.began,
        model=started.model if started else "",
        version=started.version if started else "",
        cache=started.cache.value if started else "",
        plan_id=plan_id,
        reason=reason,
        asked=account.asked,
        attempts=account.attempts,
        usage=account.usage,
        first_token=account.first_delta,
        per_token=account.per_token,
        finish_reasons=account.finish_reasons,
        timings=account.finished.timings if account.finished else None,
    )


def _write(record: RequestRecord) -> None:
    """Write the line of a request: its whole story, without its text."""
    first, timings = record.first_token, record.timings
    _log.info(
        "request",
        request_id=record.request_id,
        tenant=record.tenant,
        model=record.model,
        version=record.version,
        cache=record.cache,
        plan_id=record.plan_id,
        reason=record.reason,
        prompt_tokens=record.usage.prompt_tokens,
        cached_prompt_tokens=record.usage.cached_prompt_tokens,
        completion_tokens=record.usage.completion_tokens,
        ttft_seconds=None if first is None else round(first, 6),
        queue_seconds=None if timings is None else round(timings.queue, 6),
        prefill_seconds=None if timings is None else round(timings.prefill, 6),
        decode_seconds=None if timings is None else round(timings.decode, 6),
        total_seconds=round(record.seconds, 6),
        finish=",".join(record.finish_reasons),
        outcome=record.outcome,
        attempts=record.attempts,
    )
