"""Turns texts into vectors: checked, planned, computed by one model, reported and logged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.errors import Reason, Retry, RouterError
from llmrouter.common.generation import RequestContext, Usage
from llmrouter.common.validation import validate_embedding
from llmrouter.gateway.plan import Candidate, Outcome, Plan
from llmrouter.gateway.record import LONGEST_ASKED, RequestObserver, RequestRecord
from llmrouter.gateway.reporting import OutcomeReporter

__all__ = ["EmbedRunner", "EmbedSelector", "Embedding"]

_log = structlog.get_logger("llmrouter.gateway")


class EmbedSelector(Protocol):
    """What this needs of the selector."""

    async def select_embedder(self, request: EmbeddingRequest, context: RequestContext) -> Plan:
        """Return the plan for texts that are to become vectors.

        Raises:
            RouterError: No model fits, a name is unknown, or the selector did not answer.
        """
        ...


class EmbedRunner(Protocol):
    """What this needs of inference."""

    async def embed(
        self, candidate: Candidate, request: EmbeddingRequest, context: RequestContext
    ) -> EmbeddingResult:
        """Return the vectors of one model.

        Raises:
            RouterError: It failed.
        """
        ...


@dataclass(slots=True)
class _Account:
    """What is learned of one request; never its texts."""

    began: float = field(default_factory=time.monotonic)
    outcome: str = "OK"
    attempts: int = 0
    result: EmbeddingResult | None = None
    asked: str = ""
    plan: tuple[str, str] = ("", "")
    """Id and reason."""


class Embedding:
    """Carries one request out.

    Vectors of different models cannot be compared, so only candidates of the plan's first model
    and version are tried.
    """

    def __init__(
        self,
        selector: EmbedSelector,
        runner: EmbedRunner,
        reporter: OutcomeReporter,
        observers: Sequence[RequestObserver] = (),
    ) -> None:
        self._selector, self._runner, self._reporter = selector, runner, reporter
        self._observers = observers

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> EmbeddingResult:
        """Return the vectors in the order of the texts.

        Raises:
            RouterError: INVALID_ARGUMENT; there is no plan; every candidate failed;
                DEADLINE_EXCEEDED.
        """
        account = _Account(asked=request.model[:LONGEST_ASKED])
        try:
            async with asyncio.timeout(context.remaining()):
                account.result = await self._planned(request, context, account)
                return account.result
        except TimeoutError:
            account.outcome = Reason.DEADLINE_EXCEEDED.value
            message = "the request's deadline passed before its vectors were computed"
            raise RouterError(Reason.DEADLINE_EXCEEDED, message) from None
        except RouterError as error:
            account.outcome = error.reason.value
            raise
        except asyncio.CancelledError:
            account.outcome = Reason.CANCELLED.value
            raise
        finally:
            with contextlib.suppress(Exception):  # a log that cannot be written fails no request
                record = _record(account, context)
                _write(record, request)
                for observer in self._observers:
                    observer.ended(record)

    async def _planned(
        self, request: EmbeddingRequest, context: RequestContext, account: _Account
    ) -> EmbeddingResult:
        validate_embedding(request)
        plan = await self._selector.select_embedder(request, context)
        if not plan.candidates:
            raise RouterError(Reason.NO_CANDIDATE, "the selector named no model for this request")
        account.plan = plan.id, plan.reason
        plan.check_served()
        first = plan.candidates[0]
        same = [
            one
            for one in plan.candidates
            if (one.model, one.version) == (first.model, first.version)
        ]
        for place, candidate in enumerate(same, 1):
            account.attempts = place
            try:
                return await self._attempt(plan, candidate, request, context)
            except RouterError as error:
                if error.retry is Retry.NEVER or place == len(same):
                    raise
        raise AssertionError("a plan's first model has a candidate")

    async def _attempt(
        self, plan: Plan, candidate: Candidate, request: EmbeddingRequest, context: RequestContext
    ) -> EmbeddingResult:
        reason, tokens = Reason.CANCELLED.value, 0
        try:
            result = await self._runner.embed(candidate, request, context)
        except asyncio.CancelledError:
            if context.remaining() == 0:
                reason = Reason.DEADLINE_EXCEEDED.value
            raise
        except RouterError as error:
            reason = error.reason.value
            raise
        else:
            reason, tokens = "", result.tokens
            if context.bill is not None:
                context.bill.add(Usage(tokens), candidate.prices.cost(Usage(tokens)))
            return result
        finally:
            usage = Usage(tokens) if tokens else None
            size = 0 if request.truncate else request.text_bytes
            outcome = Outcome(
                candidate=candidate, error_reason=reason, usage=usage, prompt_bytes=size
            )
            self._reporter.report(plan.id, (outcome,), context)


def _record(account: _Account, context: RequestContext) -> RequestRecord:
    result = account.result
    return RequestRecord(
        operation="embeddings",
        request_id=context.request_id,
        tenant=context.tenant,
        user=context.user,
        credential=context.credential,
        bill=context.bill,
        outcome=account.outcome,
        seconds=time.monotonic() - account.began,
        model=result.model if result else "",
        version=result.version if result else "",
        plan_id=account.plan[0],
        reason=account.plan[1],
        asked=account.asked,
        attempts=account.attempts,
        usage=Usage(result.tokens if result else 0),
    )


def _write(record: RequestRecord, request: EmbeddingRequest) -> None:
    _log.info(
        "embedding",
        request_id=record.request_id,
        tenant=record.tenant,
        model=record.model,
        version=record.version,
        texts=len(request.texts),
        tokens=record.usage.prompt_tokens,
        total_seconds=round(record.seconds, 6),
        outcome=record.outcome,
        attempts=record.attempts,
    )
