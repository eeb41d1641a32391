"""The selector on the wire: decode, choose, encode."""

from __future__ import annotations

import hashlib
import math
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import duration_pb2

from llmrouter.common.errors import Reason, invalid
from llmrouter.common.generation import RoutingWishes
from llmrouter.common.validation import validate_context
from llmrouter.common.wire import decode_context, duration, seconds
from llmrouter.selector.catalog import Catalog, Model, ServedModel, build_catalog
from llmrouter.selector.selection import Candidate, Plan, Selection, select
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.statistics import Observation, StatisticsBook
from llmrouter.selector.strategies import Strategy, find_strategy, load_strategies
from llmrouter.selector.tokenizer_book import TokenizerBook
from llmrouter.v1 import selector_pb2 as pb
from llmrouter.v1.selector_pb2_grpc import SelectorServiceServicer

__all__ = ["SelectorServicer"]

_MODEL_FAULTS = frozenset(
    {
        Reason.GENERATION_FAILED,
        Reason.MODEL_UNAVAILABLE,
        Reason.UPSTREAM_UNAVAILABLE,
        Reason.ANSWER_BROKEN_OFF,
        Reason.INTERNAL,
    }
)
_MAX_ANSWERS = 16
_MAX_CAPABILITY = 64
_MAX_SECONDS = 86_400
_MAX_TRIED = 64
_MAX_PROMPT_BYTES = 1 << 30


class SelectorServicer(SelectorServiceServicer):
    """Chooses models and learns from outcomes."""

    def __init__(
        self,
        settings: SelectorSettings,
        served: Callable[[], tuple[ServedModel, ...]],
        *,
        strategies: Mapping[str, Strategy] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Compose the service.

        Args:
            settings: The selector's settings.
            served: What the inference services hold now: `EndpointWatcher.served`.
            strategies: By name; None loads the registered ones.
            clock: Monotonic seconds.

        Raises:
            RouterError: UNKNOWN_STRATEGY when the default strategy does not exist.
        """
        self._settings = settings
        self._served = served
        self._strategies = dict(strategies or load_strategies(settings.balanced))
        find_strategy(self._strategies, settings.default_strategy)
        self._clock = clock
        self._built: tuple[tuple[ServedModel, ...], Catalog] | None = None
        self._statistics = StatisticsBook(settings.statistics_half_life_seconds)
        self._tokenizers = TokenizerBook(settings.statistics_half_life_seconds)
        self._policy_version = _fingerprint(settings, self._strategies)

    async def Select(  # noqa: N802 - the proto's name
        self,
        request: pb.SelectRequest,
        context: Any,
    ) -> pb.SelectResponse:
        """Choose a primary and fallbacks."""
        selection = _decode_selection(request)
        name = selection.wishes.strategy or self._settings.default_strategy
        plan = select(
            selection,
            self._catalog(),
            find_strategy(self._strategies, name),
            self._statistics,
            self._tokenizers,
            now=self._clock(),
            fallbacks=self._settings.fallbacks,
            expected_output_tokens=self._settings.expected_output_tokens,
        )
        return pb.SelectResponse(plan=_encode_plan(plan, uuid.uuid4().hex, self._policy_version))

    async def ReportOutcome(  # noqa: N802 - the proto's name
        self,
        request: pb.ReportOutcomeRequest,
        context: Any,
    ) -> pb.ReportOutcomeResponse:
        """Move the statistics of the models tried; versions that nobody serves are ignored."""
        if not 1 <= len(request.outcomes) <= 64:
            raise invalid("outcomes", f"{len(request.outcomes)} given; 1 to 64 are allowed")
        now = self._clock()
        catalog = self._catalog()
        observed = [(one, _decode_outcome(one)) for one in request.outcomes]
        for outcome, observation in observed:
            model = catalog.find(outcome.model, outcome.version)
            if model is None:
                continue
            self._statistics.observe(model.name, model.version, observation, now)
            self._tokenizers.observe(
                model.tokenizer, outcome.prompt_bytes, outcome.usage.prompt_tokens, now
            )
        return pb.ReportOutcomeResponse()

    async def ListCatalog(  # noqa: N802 - the proto's name
        self,
        request: pb.ListCatalogRequest,
        context: Any,
    ) -> pb.ListCatalogResponse:
        """List the models with their statistics."""
        now = self._clock()
        return pb.ListCatalogResponse(
            models=[self._encode_model(model, now) for model in self._catalog().models],
            strategies=sorted(self._strategies),
            default_strategy=self._settings.default_strategy,
        )

    def _catalog(self) -> Catalog:
        served = self._served()
        if self._built is None or self._built[0] != served:
            catalog = build_catalog(
                self._settings.catalog,
                served,
                unlisted_quality=self._settings.unlisted_quality,
                unlisted_price=self._settings.unlisted_price,
            )
            self._built = (served, catalog)
        return self._built[1]

    def _encode_model(self, model: Model, now: float) -> pb.CatalogModel:
        observed = self._statistics.of(model.name, model.version)
        statistics = pb.ModelStatistics(
            attempts=observed.attempts,
            failures=observed.failures,
            error_rate=observed.error_rate(now),
            tokens_per_second=observed.observed_tokens_per_second(),
            bytes_per_token=self._tokenizers.bytes_per_token(model.tokenizer, now),
        )
        first = observed.observed_time_to_first_token()
        if first is not None:
            statistics.time_to_first_token.CopyFrom(duration(first))
        return pb.CatalogModel(
            name=model.name,
            version="" if model.away else model.version,
            aliases=model.entry.aliases,
            quality=model.quality,
            input_price=model.entry.input_price,
            output_price=model.entry.output_price,
            context=model.context,
            capabilities=sorted(model.capabilities),
            addresses=[served.address for served in model.endpoints if served.ready],
            statistics=statistics,
        )


def _fingerprint(settings: SelectorSettings, strategies: Mapping[str, Strategy]) -> str:
    """Return 16 hex digits that change with catalog or strategy configuration."""
    told = settings.model_dump_json(exclude={"host", "port", "inference_addresses"})
    told += "".join(repr(strategies[name]) for name in sorted(strategies))
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def _decode_selection(request: pb.SelectRequest) -> Selection:
    validate_context(decode_context(request.context))
    wishes = request.routing
    for name, value, most in (("model", wishes.model, 256), ("strategy", wishes.strategy, 64)):
        if len(value.encode()) > most:
            raise invalid(f"routing.{name}", f"longer than {most} bytes")
    if not 0 <= wishes.min_quality <= 1:
        raise invalid("routing.min_quality", f"{wishes.min_quality} is not in 0 to 1")
    if not (math.isfinite(wishes.max_cost) and wishes.max_cost >= 0):
        raise invalid("routing.max_cost", f"{wishes.max_cost} is not 0 or a positive number")
    if request.prompt_bytes > _MAX_PROMPT_BYTES:
        raise invalid("prompt_bytes", f"{request.prompt_bytes} is above {_MAX_PROMPT_BYTES}")
    if request.n > _MAX_ANSWERS:
        raise invalid("n", f"{request.n} is above {_MAX_ANSWERS}")
    if len(request.capabilities) > 16:
        raise invalid("capabilities", f"{len(request.capabilities)} given; at most 16 are allowed")
    if any(len(one) > _MAX_CAPABILITY for one in request.capabilities):
        raise invalid("capabilities", f"one is longer than {_MAX_CAPABILITY} characters")
    if len(request.tried) > _MAX_TRIED:
        raise invalid("tried", f"{len(request.tried)} given; at most {_MAX_TRIED} are allowed")
    return Selection(
        request_id=request.context.request_id,
        prompt_bytes=request.prompt_bytes,
        max_tokens=request.max_tokens,
        capabilities=frozenset(request.capabilities),
        wishes=RoutingWishes(wishes.model, wishes.strategy, wishes.min_quality, wishes.max_cost),
        n=max(1, request.n),
        tried=frozenset((one.model, one.version, one.address) for one in request.tried),
    )


def _time(value: duration_pb2.Duration, name: str) -> float:
    told = seconds(value)
    if not 0 <= told <= _MAX_SECONDS:
        raise invalid(f"outcomes.{name}", f"is {told:g} s; it must be 0 to {_MAX_SECONDS} s")
    return told


def _decode_outcome(outcome: pb.Outcome) -> Observation:
    """Return what an outcome says about the model; faults of the caller say nothing about it."""
    failed = outcome.error_reason in _MODEL_FAULTS
    first = per_token = None
    if outcome.HasField("time_to_first_token"):
        first = _time(outcome.time_to_first_token, "time_to_first_token")
    if outcome.HasField("time_per_token"):
        per_token = _time(outcome.time_per_token, "time_per_token")
    return Observation(
        failed=failed,
        counts=failed or not outcome.error_reason,
        time_to_first_token=first,
        seconds_per_token=per_token,
        prompt_tokens=outcome.usage.prompt_tokens,
    )


def _encode_plan(plan: Plan, plan_id: str, policy_version: str) -> pb.Plan:
    return pb.Plan(
        id=plan_id,
        mode=pb.PLAN_MODE_FIRST_OF,
        candidates=[_encode_candidate(one) for one in plan.candidates],
        exclusions=[pb.Exclusion(model=one.model, reason=one.reason) for one in plan.exclusions],
        strategy=plan.strategy,
        policy_version=policy_version,
        reason=plan.reason,
    )


def _encode_candidate(one: Candidate) -> pb.Candidate:
    return pb.Candidate(
        model=one.model,
        version=one.version,
        address=one.address,
        score=one.score,
        components=[
            pb.ScoreComponent(
                name=part.name,
                value=part.value,
                weight=part.weight,
                explanation=part.explanation,
            )
            for part in one.components
        ],
        estimated_cost=one.estimated_cost,
        estimated_prompt_tokens=one.estimated_prompt_tokens,
        away=one.away,
    )
