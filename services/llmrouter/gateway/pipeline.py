"""The one file that knows the order of the links."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmrouter.common.generation import Generator
from llmrouter.common.savings import SavingsTable
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.gateway.accounting import Accounting
from llmrouter.gateway.admission import Admission
from llmrouter.gateway.caching import Caching
from llmrouter.gateway.callers import TextEmbedder
from llmrouter.gateway.cascade import CascadePolicy
from llmrouter.gateway.deadline import Deadline
from llmrouter.gateway.embedding import Embedding
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.fallback import Fallback
from llmrouter.gateway.limiting import Limiting
from llmrouter.gateway.limiting_embeddings import LimitedEmbedRunner, RatedEmbedder
from llmrouter.gateway.limits.limiter import Limiter
from llmrouter.gateway.measuring import MeasuredRequests
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.near_caching import NearCaching
from llmrouter.gateway.neighbours import Neighbours
from llmrouter.gateway.pacing import Pacing
from llmrouter.gateway.planning import Planning
from llmrouter.gateway.question_embedder import QuestionEmbedder
from llmrouter.gateway.recalling import Recalling
from llmrouter.gateway.record import RequestObserver
from llmrouter.gateway.reporting import BackgroundReporter
from llmrouter.gateway.retrying import Retrying
from llmrouter.gateway.safety.policy import Policy
from llmrouter.gateway.safety.safeguard import Safeguard
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.gateway.shadowing import Shadowing
from llmrouter.gateway.shortening import Shortening
from llmrouter.gateway.similar import Similar
from llmrouter.gateway.single_flight import SingleFlight
from llmrouter.gateway.sticky import StickyChoice

__all__ = ["Pipeline", "Shared", "build_embedding", "build_pipeline", "observers_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What requests share and the service watches over."""

    near: NearCache
    """Answers in this process."""
    serves: Callable[[str, str], bool]
    """Whether a version of a model serves now."""
    policy: Policy
    """What texts may hold."""
    savings: SavingsTable = field(default_factory=SavingsTable)
    """What they spared."""
    limiter: Limiter | None = None
    """Holds them to their limits; None where there are none."""
    observers: tuple[RequestObserver, ...] = ()
    """Told of every request."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The chain, and what has to end before its neighbours do."""

    generator: Generator
    _flights: SingleFlight
    _shadowing: Shadowing
    _reporter: BackgroundReporter

    async def close(self) -> None:
        """End what runs for nobody, once what is worth keeping is kept and told.

        What is told of embeddings goes the same way.
        """
        await self._flights.close()
        await self._shadowing.close()
        await self._reporter.close()


def build_pipeline(
    settings: GatewaySettings,
    neighbours: Neighbours,
    shared: Shared,
    telemetry: Telemetry = SILENT,
) -> Pipeline:
    """Return the chain that answers one request after another.

    Args:
        settings: The gateway's settings.
        neighbours: Selector, cache and inference.
        shared: What requests share.
        telemetry: What requests are measured and traced with.
    """
    selector, cache, reporter = neighbours.selector, neighbours.cache, neighbours.reporter
    sticky = StickyChoice()
    limiting = Limiting(shared.limiter, settings.limits.assumed_answer_tokens, selector)
    runner = limiting.tries(neighbours.upstream)
    cascade = CascadePolicy(**settings.cascade.model_dump())
    retrying = Retrying(settings.retry.backoff(), settings.retry.budget())
    execution = Execution(runner, reporter, selector, cascade, settings.switching, retrying)
    shadowing = Shadowing(runner, reporter, execution)
    generating = limiting.spending(shadowing)
    if settings.similar is not None:
        own = QuestionEmbedder(build_embedding(neighbours), settings.similar)
        generating = Similar(cache, own, generating)
    waits = settings.cache_timeout_seconds, settings.cache_lease_wait_seconds
    caching = Caching(cache, shared.near, sticky, generating, *waits)
    flights = SingleFlight(shared.near, caching, settings.default_deadline_seconds)
    near_caching = NearCaching(shared.near, sticky, shared.savings, flights)
    planning = Deadline(Shortening(Planning(selector, near_caching)))
    fallback = Fallback(cache, sticky, shared.savings, planning)
    recalling = Recalling(shared.near, cache, sticky, shared.serves, shared.savings, fallback)
    similar = settings.similar is not None
    arrivals = limiting.arrivals(Pacing(recalling))
    safe = Safeguard(arrivals, settings.safety, shared.policy, telemetry.meter)
    chain = Accounting(Admission(safe, telemetry.tracer, similar=similar), shared.observers)
    return Pipeline(chain, flights, shadowing, reporter)


def build_embedding(
    neighbours: Neighbours,
    limiter: Limiter | None = None,
    observers: Sequence[RequestObserver] = (),
) -> TextEmbedder:
    """Return what turns texts into vectors.

    Args:
        neighbours: Selector and inference.
        limiter: Holds requests to their limits; None where there are none.
        observers: Told of requests of callers; nobody is of those that the gateway makes for
            itself.
    """
    selector, upstream, reporter = neighbours.selector, neighbours.upstream, neighbours.reporter
    if limiter is None:
        return Embedding(selector, upstream, reporter, observers)
    limited = LimitedEmbedRunner(limiter, upstream)
    embedding = Embedding(selector, limited, reporter, observers)
    return RatedEmbedder(limiter, embedding, observers)


def observers_of(telemetry: Telemetry) -> tuple[RequestObserver, ...]:
    """Return who is told of requests, beside the log."""
    if telemetry.tracer is None and telemetry.meter is None:
        return ()
    return (MeasuredRequests(telemetry.meter),)
