"""The gateway's own domain values to protos and back: plans, outcomes and kept answers."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import duration_pb2

from llmrouter.common.answer_key import conversation_key, question_key
from llmrouter.common.capabilities import CONTINUATION, EMBEDDING, LOGPROBS, needed
from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.ensemble import Election
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import GenerationRequest, RequestContext
from llmrouter.common.plan_mode import PlanMode
from llmrouter.common.prices import Prices
from llmrouter.common.prompt_features import PromptFeatures
from llmrouter.common.wire import duration, encode_context, seconds
from llmrouter.common.wire_event import (
    decode_finish_reason,
    decode_logprobs,
    decode_timings,
    decode_usage,
    encode_finish_reason,
    encode_logprobs,
    encode_timings,
    encode_usage,
)
from llmrouter.common.wire_features import encode_features
from llmrouter.common.wire_routing import encode_routing
from llmrouter.common.wire_tools import decode_calls, encode_calls
from llmrouter.gateway.answers import Answer, Choice
from llmrouter.gateway.plan import Candidate, Outcome, Plan, Tried
from llmrouter.v1 import cache_pb2, generation_pb2, selector_pb2

__all__ = [
    "decode_answer",
    "decode_plan",
    "encode_answer",
    "encode_choice",
    "encode_outcome",
    "encode_select",
    "encode_select_embedder",
    "encode_ttl",
]

_MODES = {
    selector_pb2.PLAN_MODE_FIRST_OF: PlanMode.FIRST_OF,
    selector_pb2.PLAN_MODE_CASCADE: PlanMode.CASCADE,
    selector_pb2.PLAN_MODE_ENSEMBLE: PlanMode.ENSEMBLE,
}


def encode_select(
    request: GenerationRequest,
    context: RequestContext,
    tried: tuple[Tried, ...] = (),
    features: PromptFeatures | None = None,
) -> selector_pb2.SelectRequest:
    """Return what the selector may know of a request: sizes, wishes and features, no text.

    Args:
        request: The request.
        context: Who asks.
        tried: Who has failed it already.
        features: What its prompt is like; None tells nothing of it.
    """
    return selector_pb2.SelectRequest(
        context=encode_context(context),
        routing=encode_routing(request.routing),
        prompt_bytes=request.prompt_bytes,
        max_tokens=request.sampling.max_tokens or 0,
        capabilities=sorted(_needed(request, tried)),
        n=request.sampling.n,
        tried=[
            selector_pb2.TriedCandidate(
                model=one.candidate.model,
                version=one.candidate.version,
                address=one.candidate.address,
                too_long=one.too_long,
            )
            for one in tried
            if not one.again
        ],
        question_key=question_key(request, context.tenant, context.models),
        conversation_key=conversation_key(request, context.tenant),
        brief=True,
        allowed_models=sorted(context.models),
        features=None if features is None else encode_features(features),
    )


def _needed(request: GenerationRequest, tried: tuple[Tried, ...]) -> frozenset[str]:
    """Return what a model must be able to do, by the request or by how its answer comes about."""
    wish, further = request.routing.ensemble, set()
    if wish is not None and wish.election is Election.CONFIDENCE:
        further.add(LOGPROBS)
    if any(one.sent for one in tried):
        further.add(CONTINUATION)
    return needed(request) | further


def encode_select_embedder(
    request: EmbeddingRequest, context: RequestContext
) -> selector_pb2.SelectRequest:
    """Return what the selector may know of texts; those that may be cut fit every model."""
    return selector_pb2.SelectRequest(
        context=encode_context(context),
        routing=generation_pb2.RoutingWishes(model=request.model),
        prompt_bytes=0 if request.truncate else request.longest_bytes,
        max_tokens=1,
        capabilities=[EMBEDDING],
        brief=True,
        allowed_models=sorted(context.models),
    )


def decode_plan(plan: selector_pb2.Plan) -> Plan:
    """Return the plan.

    Raises:
        RouterError: INTERNAL for a mode this gateway cannot carry out.
    """
    if plan.mode not in _MODES:
        message = f"the selector's plan has the mode {plan.mode}, which this gateway does not know"
        raise RouterError(Reason.INTERNAL, message)
    candidates, shadows = (
        tuple(map(_decode_candidate, named)) for named in (plan.candidates, plan.shadows)
    )
    hedge = seconds(plan.hedge_after) if plan.HasField("hedge_after") else None
    return Plan(plan.id, candidates, plan.reason, _MODES[plan.mode], shadows, hedge)


def _decode_candidate(one: selector_pb2.Candidate) -> Candidate:
    prices = Prices(one.input_price, one.output_price, one.cached_input_price)
    where = one.model, one.version, one.address
    tokens = one.estimated_prompt_tokens
    return Candidate(*where, one.context, one.away, one.estimated_cost, prices, tokens, one.score)


def encode_outcome(outcome: Outcome) -> selector_pb2.Outcome:
    """Return the proto of how an attempt went; what was not observed stays absent."""
    return selector_pb2.Outcome(
        model=outcome.candidate.model,
        version=outcome.candidate.version,
        address=outcome.candidate.address,
        error_reason=outcome.error_reason,
        time_to_first_token=_maybe(outcome.time_to_first_token),
        time_per_token=_maybe(outcome.time_per_token),
        usage=None if outcome.usage is None else encode_usage(outcome.usage),
        prompt_bytes=outcome.prompt_bytes,
        queue_time=_maybe(outcome.queue_time),
        waited=_maybe(outcome.waited),
    )


def encode_ttl(ttl_seconds: float) -> duration_pb2.Duration | None:
    """Return a time to live; None, the cache's default, for 0."""
    return duration(ttl_seconds) if ttl_seconds else None


def encode_choice(choice: Choice) -> generation_pb2.Choice:
    """Return the proto of one complete choice."""
    return generation_pb2.Choice(
        text=choice.text,
        reason=encode_finish_reason(choice.reason),
        stop=choice.stop,
        logprobs=encode_logprobs(choice.logprobs),
        tool_calls=encode_calls(choice.tool_calls),
    )


def encode_answer(answer: Answer, tags: Sequence[str] = ()) -> cache_pb2.CachedAnswer:
    """Return the proto of an answer to keep, and the names to invalidate it by."""
    return cache_pb2.CachedAnswer(
        model=answer.model,
        version=answer.version,
        choices=[encode_choice(choice) for choice in answer.choices],
        usage=encode_usage(answer.usage),
        timings=encode_timings(answer.timings),
        tags=tags,
    )


def decode_answer(answer: cache_pb2.CachedAnswer) -> Answer:
    """Return a kept answer."""
    return Answer(
        answer.model,
        answer.version,
        tuple(
            Choice(
                choice.text,
                decode_finish_reason(choice.reason),
                choice.stop,
                decode_logprobs(choice.logprobs),
                decode_calls(choice.tool_calls),
            )
            for choice in answer.choices
        ),
        decode_usage(answer.usage),
        decode_timings(answer.timings),
    )


def _maybe(value: float | None) -> duration_pb2.Duration | None:
    return None if value is None else duration(value)
