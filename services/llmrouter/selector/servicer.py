"""The selector on the wire: decode, choose, encode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from llmrouter.common.errors import RouterError, invalid
from llmrouter.common.validation import validate_context
from llmrouter.common.wire import decode_context
from llmrouter.common.wire_rating import decode_rating
from llmrouter.selector.costs import KINDS
from llmrouter.selector.decisions import Decision, RecordWriter
from llmrouter.selector.encoding import (
    encode_breakers,
    encode_catalog,
    encode_costs,
    encode_versions,
)
from llmrouter.selector.messages import decode_outcomes, decode_selection, encode_plan
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.observing import SelectionObserver
from llmrouter.selector.passing_on import Attempts
from llmrouter.selector.replaying import decision_in
from llmrouter.selector.rollout_messages import decode_spec, encode_rollout
from llmrouter.v1 import rating_pb2
from llmrouter.v1 import selector_pb2 as pb
from llmrouter.v1.selector_pb2_grpc import SelectorServiceServicer

__all__ = ["SelectorServicer"]

_log = logging.getLogger(__name__)


class SelectorServicer(SelectorServiceServicer):
    """Chooses models and learns from outcomes."""

    def __init__(
        self,
        selector: ModelSelector,
        observer: SelectionObserver | None = None,
        report: Callable[[str, Attempts], int] | None = None,
        recall: Callable[[str], Awaitable[str | None]] | None = None,
        name: str = "",
    ) -> None:
        """Put a selector on the wire.

        Args:
            selector: Chooses.
            observer: Told of every plan.
            report: Takes outcomes in; None leaves it to the selector.
            recall: Returns the record of a choice that was made before a restart.
            name: Tells it from other selectors.
        """
        self._selector = selector
        self._observer = observer
        self._report = report or selector.report
        self._recall = recall
        self._name = name
        self._faults = frozenset(map(str, selector.settings.breaker.failure_classes))

    async def Select(  # noqa: N802 - the proto's name
        self,
        request: pb.SelectRequest,
        context: Any,
    ) -> pb.SelectResponse:
        """Choose a primary and fallbacks."""
        plan_id, plan = self._selector.select(decode_selection(request), brief=request.brief)
        if self._observer is not None:
            self._observer.chosen(plan_id, plan)
        told = pb.SelectResponse()
        encode_plan(plan, plan_id, self._selector.policy_version, told.plan)
        return told

    async def ReportOutcome(  # noqa: N802 - the proto's name
        self,
        request: pb.ReportOutcomeRequest,
        context: Any,
    ) -> pb.ReportOutcomeResponse:
        """Learn from the attempts of an issued plan, each once."""
        attempts = decode_outcomes(request, self._faults)
        return pb.ReportOutcomeResponse(counted=self._report(request.plan_id, attempts))

    async def RateOutcome(  # noqa: N802 - the proto's name
        self,
        request: rating_pb2.SelectorServiceRateOutcomeRequest,
        context: Any,
    ) -> rating_pb2.SelectorServiceRateOutcomeResponse:
        """Learn from how good an answer was."""
        who, rating = decode_context(request.context), decode_rating(request.request)
        validate_context(who)
        model, grades = self._selector.rate(rating, who.tenant)
        told = rating_pb2.RateOutcomeResponse(model=model, grade=rating.grade, grades=grades)
        return rating_pb2.SelectorServiceRateOutcomeResponse(response=told)

    async def ListCatalog(  # noqa: N802 - the proto's name
        self,
        request: pb.ListCatalogRequest,
        context: Any,
    ) -> pb.ListCatalogResponse:
        """List the models with their statistics."""
        return await encode_catalog(self._selector)

    async def ListVersions(  # noqa: N802 - the proto's name
        self,
        request: pb.ListVersionsRequest,
        context: Any,
    ) -> pb.ListVersionsResponse:
        """List the versions of all models."""
        return encode_versions(self._selector, self._name)

    async def Explain(  # noqa: N802 - the proto's name
        self,
        request: pb.ExplainRequest,
        context: Any,
    ) -> pb.ExplainResponse:
        """Make a past choice again."""
        decision = await self._past(request.plan_id)
        plan = await asyncio.to_thread(decision.plan_again)
        record = await asyncio.to_thread(RecordWriter().line, request.plan_id, decision)
        told = pb.ExplainResponse(record=record)
        encode_plan(plan, request.plan_id, decision.policy_version, told.plan)
        return told

    async def ExportDecisions(  # noqa: N802 - the proto's name
        self,
        request: pb.ExportDecisionsRequest,
        context: Any,
    ) -> AsyncIterator[pb.ExportDecisionsResponse]:
        """Stream the records of past choices."""
        writer = RecordWriter()
        for plan_id, decision in self._selector.past.newest(request.limit):
            # In a thread: a choice among many models takes milliseconds to tell.
            record = await asyncio.to_thread(writer.line, plan_id, decision)
            yield pb.ExportDecisionsResponse(record=record)

    async def ListBreakers(  # noqa: N802 - the proto's name
        self,
        request: pb.ListBreakersRequest,
        context: Any,
    ) -> pb.ListBreakersResponse:
        """List the circuit breakers of endpoints that failed lately."""
        return encode_breakers(self._selector)

    async def ResetBreakers(  # noqa: N802 - the proto's name
        self,
        request: pb.ResetBreakersRequest,
        context: Any,
    ) -> pb.ResetBreakersResponse:
        """Close circuit breakers by hand."""
        return pb.ResetBreakersResponse(
            closed=self._selector.breakers.reset(request.model, request.address)
        )

    async def StartRollout(  # noqa: N802 - the proto's name
        self,
        request: pb.StartRolloutRequest,
        context: Any,
    ) -> pb.StartRolloutResponse:
        """Begin to move a model's traffic to another version."""
        selector = self._selector
        spec = decode_spec(request.spec, selector.live.view())
        rollout = selector.rollouts.start(spec, selector.clock())
        return pb.StartRolloutResponse(rollout=encode_rollout(rollout))

    async def ListRollouts(  # noqa: N802 - the proto's name
        self,
        request: pb.ListRolloutsRequest,
        context: Any,
    ) -> pb.ListRolloutsResponse:
        """List the last rollout of every model."""
        found = self._selector.rollouts.all(self._selector.clock())
        return pb.ListRolloutsResponse(rollouts=[encode_rollout(one) for one in found])

    async def ChangeRollout(  # noqa: N802 - the proto's name
        self,
        request: pb.ChangeRolloutRequest,
        context: Any,
    ) -> pb.ChangeRolloutResponse:
        """Pause, resume or abort a rollout."""
        rollouts = self._selector.rollouts
        changes = {
            pb.ROLLOUT_ACTION_PAUSE: rollouts.pause,
            pb.ROLLOUT_ACTION_RESUME: rollouts.resume,
            pb.ROLLOUT_ACTION_ABORT: rollouts.abort,
        }
        if request.action not in changes:
            raise invalid("action", f"is {request.action}; it must be pause, resume or abort")
        rollout = changes[request.action](request.model, self._selector.clock())
        return pb.ChangeRolloutResponse(rollout=encode_rollout(rollout))

    async def ListCosts(  # noqa: N802 - the proto's name
        self,
        request: pb.ListCostsRequest,
        context: Any,
    ) -> pb.ListCostsResponse:
        """List what was spent."""
        if request.kind and request.kind not in KINDS:
            raise invalid(
                "kind", f"is {request.kind[:64]!r}; it must be {', '.join(KINDS)} or empty"
            )
        return encode_costs(self._selector, (request.kind,) if request.kind else KINDS)

    async def _past(self, plan_id: str) -> Decision:
        """Return a past choice, also one from before a restart."""
        try:
            return self._selector.decision(plan_id)
        except RouterError:
            line = None if self._recall is None else await self._recall(plan_id)
            if line is None:
                raise
            try:
                return await asyncio.to_thread(decision_in, line, self._selector.strategies)
            except ValueError as error:
                _log.warning("the kept choice %s cannot be read: %s", plan_id, error)
            raise
