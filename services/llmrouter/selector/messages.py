"""Requests, outcomes and plans to domain values and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from google.protobuf import duration_pb2
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

from llmrouter.common.errors import Reason, invalid
from llmrouter.common.generation import RoutingWishes
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.validation import validate_context, validate_routing
from llmrouter.common.wire import decode_context, duration, seconds
from llmrouter.common.wire_event import decode_usage
from llmrouter.common.wire_features import decode_features
from llmrouter.common.wire_routing import decode_routing
from llmrouter.selector.evidence import Key
from llmrouter.selector.plan import Candidate, Plan, Selection, Tried
from llmrouter.selector.statistics import Observation
from llmrouter.v1 import generation_pb2
from llmrouter.v1 import selector_pb2 as pb

__all__ = ["decode_outcomes", "decode_selection", "encode_plan"]

_GIVEN_UP = frozenset({Reason.CANCELLED, Reason.DEADLINE_EXCEEDED})
"""Reasons for which nothing came although nothing failed."""
_MAX_ALLOWED = 256
_MODES = {
    PlanMode.FIRST_OF: pb.PLAN_MODE_FIRST_OF,
    PlanMode.CASCADE: pb.PLAN_MODE_CASCADE,
    PlanMode.ENSEMBLE: pb.PLAN_MODE_ENSEMBLE,
}
_MAX_ANSWERS = 16
_MAX_CAPABILITIES = 16
_MAX_CAPABILITY = 64
_MAX_KEY_BYTES = 64
_MAX_NAME_BYTES = 256
_MAX_OUTCOMES = 64
_MAX_SECONDS = 86_400
_MAX_PROMPT_BYTES = 1 << 30
_MAX_TRIED = 64
_Duration = Literal["time_to_first_token", "time_per_token", "queue_time", "waited"]
_NOBODY: frozenset[Tried] = frozenset()


def decode_selection(request: pb.SelectRequest) -> Selection:
    """Return what is known of a request.

    Raises:
        RouterError: INVALID_ARGUMENT for a field out of its bounds.
    """
    context = decode_context(request.context)
    validate_context(context)
    wishes = _wishes(request.routing.SerializeToString())
    capabilities = frozenset(request.capabilities)
    _check_sizes(request, capabilities)
    return Selection(
        request_id=context.request_id,
        prompt_bytes=request.prompt_bytes,
        max_tokens=request.max_tokens,
        capabilities=capabilities,
        wishes=wishes,
        n=max(1, request.n),
        tenant=context.tenant,
        user=context.user,
        question_key=request.question_key,
        conversation_key=request.conversation_key,
        tried=_tried(request) if request.tried else _NOBODY,
        models=frozenset(request.allowed_models),
        features=decode_features(request.features) if request.HasField("features") else None,
    )


@lru_cache(maxsize=256)
def _wishes(routing: bytes) -> RoutingWishes:
    """Return wishes within their bounds; those of the latest requests are remembered.

    Most requests wish what others have wished before.
    """
    wishes = decode_routing(generation_pb2.RoutingWishes.FromString(routing))
    validate_routing(wishes)
    return wishes


def _tried(request: pb.SelectRequest) -> frozenset[Tried]:
    return frozenset(
        Tried(one.model, one.version, one.address, one.too_long) for one in request.tried
    )


def _check_sizes(request: pb.SelectRequest, capabilities: frozenset[str]) -> None:
    if request.prompt_bytes > _MAX_PROMPT_BYTES:
        raise invalid("prompt_bytes", f"{request.prompt_bytes} is above {_MAX_PROMPT_BYTES}")
    if request.n > _MAX_ANSWERS:
        raise invalid("n", f"{request.n} is above {_MAX_ANSWERS}")
    if len(request.capabilities) > _MAX_CAPABILITIES:
        raise invalid("capabilities", f"{len(request.capabilities)} given; at most 16 are allowed")
    if capabilities and max(map(len, capabilities)) > _MAX_CAPABILITY:
        raise invalid("capabilities", f"one is longer than {_MAX_CAPABILITY} characters")
    if len(request.tried) > _MAX_TRIED:
        raise invalid("tried", f"{len(request.tried)} given; at most {_MAX_TRIED} are allowed")
    if request.allowed_models:
        _check_allowed(request.allowed_models)
    _check_key("question_key", request.question_key)
    _check_key("conversation_key", request.conversation_key)


def _check_allowed(allowed: Sequence[str]) -> None:
    if len(allowed) > _MAX_ALLOWED or any(len(one.encode()) > _MAX_NAME_BYTES for one in allowed):
        told = f"at most {_MAX_ALLOWED} names of at most {_MAX_NAME_BYTES} bytes may be given"
        raise invalid("allowed_models", told)


def _check_key(name: str, key: bytes) -> None:
    if len(key) > _MAX_KEY_BYTES:
        raise invalid(name, f"has {len(key)} bytes; at most {_MAX_KEY_BYTES} are allowed")


def decode_outcomes(
    request: pb.ReportOutcomeRequest, faults: frozenset[str]
) -> list[tuple[Key, Observation]]:
    """Return endpoint and observation of each attempt.

    Args:
        request: The report.
        faults: Error reasons that are a model's own fault; those of callers say nothing about it.

    Raises:
        RouterError: INVALID_ARGUMENT for none or too many outcomes, or an impossible number.
    """
    count = len(request.outcomes)
    if not 1 <= count <= _MAX_OUTCOMES:
        raise invalid("outcomes", f"{count} given; 1 to {_MAX_OUTCOMES} are allowed")
    return [
        ((one.model, one.version, one.address), _decode_outcome(one, faults))
        for one in request.outcomes
    ]


def _decode_outcome(outcome: pb.Outcome, faults: frozenset[str]) -> Observation:
    failed = outcome.error_reason in faults
    if outcome.prompt_bytes > _MAX_PROMPT_BYTES:
        raise invalid("outcomes.prompt_bytes", f"is {outcome.prompt_bytes}; at most 1 GiB")
    usage = decode_usage(outcome.usage) if outcome.HasField("usage") else None
    if usage is not None and usage.cached_prompt_tokens > usage.prompt_tokens:
        told = f"is {usage.cached_prompt_tokens}; at most prompt_tokens, {usage.prompt_tokens}"
        raise invalid("outcomes.usage.cached_prompt_tokens", told)
    return Observation(
        error_reason=outcome.error_reason[:64],
        failed=failed,
        counts=failed or not outcome.error_reason,
        time_to_first_token=_time(outcome, "time_to_first_token"),
        seconds_per_token=_time(outcome, "time_per_token"),
        queue_seconds=_time(outcome, "queue_time"),
        waited=_time(outcome, "waited") if outcome.error_reason in _GIVEN_UP else None,
        usage=usage,
        prompt_bytes=outcome.prompt_bytes,
    )


def _time(outcome: pb.Outcome, name: _Duration) -> float | None:
    if not outcome.HasField(name):
        return None
    value: duration_pb2.Duration = getattr(outcome, name)
    told = seconds(value)
    if not 0 <= told <= _MAX_SECONDS:
        raise invalid(f"outcomes.{name}", f"is {told:g} s; it must be 0 to {_MAX_SECONDS} s")
    return told


def encode_plan(
    plan: Plan, plan_id: str, policy_version: str, told: pb.Plan | None = None
) -> pb.Plan:
    """Return the proto of a plan.

    Args:
        plan: The plan.
        plan_id: Its id.
        policy_version: By which it was made.
        told: An empty part of another message, to be filled in place: a message that is handed
            over is copied.
    """
    told = pb.Plan() if told is None else told
    told.id, told.mode, told.strategy = plan_id, _MODES[plan.mode], plan.strategy
    told.policy_version, told.reason = policy_version, plan.reason
    for one in plan.candidates:
        _add_candidate(told.candidates, one)
    for one in plan.shadows:
        _add_candidate(told.shadows, one)
    if plan.hedge_after is not None:
        told.hedge_after.CopyFrom(duration(plan.hedge_after))
    for left in plan.exclusions:
        told.exclusions.add(model=left.model, reason=left.reason, version=left.version)
    return told


def _add_candidate(
    candidates: RepeatedCompositeFieldContainer[pb.Candidate], one: Candidate
) -> None:
    told = candidates.add(
        model=one.model,
        version=one.version,
        address=one.address,
        score=one.score,
        estimated_cost=one.estimated_cost,
        estimated_prompt_tokens=one.estimated_prompt_tokens,
        away=one.away,
        context=one.context,
        input_price=one.prices.input,
        output_price=one.prices.output,
        cached_input_price=one.prices.cached,
    )
    for part in one.components:
        told.components.add(
            name=part.name, value=part.value, weight=part.weight, explanation=part.explanation
        )
