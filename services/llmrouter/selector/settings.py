"""What can be configured of the selector; everything has a default."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from llmrouter.common.addresses import Address
from llmrouter.common.listening import Dialling, Listening
from llmrouter.common.redis_server import RedisSettings
from llmrouter.common.settings import Section
from llmrouter.selector.placement_settings import PlacementSettings
from llmrouter.selector.scaling_settings import ScalingSettings
from llmrouter.selector.strategy_settings import (
    HedgingSettings,
    LearnedSettings,
    StrategySettings,
    StrategyWeights,
)

__all__ = [
    "BreakerSettings",
    "CatalogEntry",
    "DecisionSettings",
    "SelectorSettings",
]

_Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^@\s]+$")]
"""What requests can ask for: `@` sets a version apart."""
_StrategyName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S+$")]

FailureClass = Literal[
    "GENERATION_FAILED",
    "MODEL_UNAVAILABLE",
    "UPSTREAM_UNAVAILABLE",
    "ANSWER_BROKEN_OFF",
    "INTERNAL",
    "QUEUE_FULL",
    "MEMORY_PRESSURE",
    "DEADLINE_EXCEEDED",
]
"""Error reasons that may be a model's own fault; a bad request never is."""

DEFAULT_FAILURE_CLASSES: tuple[FailureClass, ...] = (
    "GENERATION_FAILED",
    "MODEL_UNAVAILABLE",
    "UPSTREAM_UNAVAILABLE",
    "ANSWER_BROKEN_OFF",
    "INTERNAL",
)


class CatalogEntry(Section):
    """One model that requests may be routed to, as far as it is known before it is served."""

    name: _Name
    """Model name."""
    aliases: tuple[_Name, ...] = Field(default=(), max_length=16)
    """Other names that lead to it."""
    quality: float = Field(default=0.3, ge=0, le=1)
    """Quality of the unquantised checkpoint, 0 to 1."""
    input_price: float | None = Field(default=None, ge=0, le=1e6)
    """US dollars per 1e6 prompt tokens; absent takes `unlisted_price`."""
    output_price: float | None = Field(default=None, ge=0, le=1e6)
    """US dollars per 1e6 generated tokens; absent takes `unlisted_price`."""
    cached_input_price: float | None = Field(default=None, ge=0, le=1e6)
    """US dollars per 1e6 prompt tokens that are not computed again; absent takes the price of
    prompt tokens."""
    tags: tuple[str, ...] = Field(default=(), max_length=16)
    """What requests may ask for, such as `region=eu`."""
    allow_tenants: tuple[str, ...] = Field(default=(), max_length=1000)
    """Only these tenants may use it; none means all."""
    deny_tenants: tuple[str, ...] = Field(default=(), max_length=1000)
    """These tenants may not use it."""
    weight: float = Field(default=1.0, ge=0, le=1e6)
    """Its share in the strategy `weighted`."""
    time_to_first_token: float | None = Field(default=None, gt=0, le=3600)
    """Seconds believed before any was measured, for a prompt of 50 tokens."""
    seconds_per_token: float | None = Field(default=None, gt=0, le=3600)
    """Seconds believed before any was measured; absent takes the engine's own time of a step."""


class BreakerSettings(Section):
    """When an endpoint that fails is left alone."""

    failures: int = Field(default=5, ge=1, le=1000)
    """Failures in a row that open it."""
    open_seconds: float = Field(default=60, ge=0.001, le=86_400)
    """How long it stays open before it probes."""
    successes: int = Field(default=3, ge=1, le=1000)
    """Successes in a row that close it again."""
    probes: int = Field(default=1, ge=1, le=1000)
    """Requests at once while it probes."""
    failure_classes: tuple[FailureClass, ...] = DEFAULT_FAILURE_CLASSES
    """Error reasons that count as failures."""


class DecisionSettings(Section):
    """How past choices are remembered."""

    count: int = Field(default=10_000, ge=0, le=1_000_000)
    """Choices kept at most; 0 keeps none."""
    max_bytes: int = Field(default=64 << 20, ge=0, le=1 << 40)
    """Bytes of their records at most."""
    kept: int = Field(default=1000, ge=0, le=100_000)
    """Choices kept over a restart at most, beside the state; 0 keeps none."""
    kept_bytes: int = Field(default=64 << 20, ge=1 << 20, le=1 << 40)
    """Bytes of their file at most; the log of SQLite's last changes is beside it."""
    report_seconds: float = Field(default=3600, ge=1, le=86_400)
    """How long a plan's outcomes may be reported and rated after it was issued."""


_DEFAULT_CATALOG = (
    CatalogEntry(
        name="smollm2-135m-instruct-int8",
        aliases=("smollm2-135m-instruct",),
        quality=0.30,
        input_price=0.02,
        output_price=0.02,
    ),
    CatalogEntry(
        name="smollm2-135m-instruct-int4", quality=0.30, input_price=0.01, output_price=0.01
    ),
    CatalogEntry(
        name="smollm2-135m-instruct-fp32", quality=0.30, input_price=0.05, output_price=0.05
    ),
    # Of 14 tasks of HumanEval it solves 5, the smaller model none.
    CatalogEntry(
        name="qwen2.5-coder-0.5b-instruct-int8",
        aliases=("qwen2.5-coder-0.5b-instruct",),
        quality=0.45,
        input_price=0.06,
        output_price=0.06,
    ),
    CatalogEntry(
        name="qwen2.5-coder-0.5b-instruct-int4", quality=0.45, input_price=0.04, output_price=0.04
    ),
    CatalogEntry(
        name="qwen2.5-coder-0.5b-instruct-fp32", quality=0.45, input_price=0.18, output_price=0.18
    ),
    CatalogEntry(
        name="all-minilm-l6-v2-int8",
        aliases=("all-minilm-l6-v2",),
        quality=0.30,
        input_price=0.01,
        output_price=0.0,
    ),
)


class SelectorSettings(Listening, Dialling):
    """Settings of the selector (`selector:` in the file)."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on."""
    port: int = Field(default=50052, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    drain_grace_seconds: float = Field(default=5, ge=0, le=3600)
    """Time that running calls have at shutdown."""
    catalog: tuple[CatalogEntry, ...] = Field(default=_DEFAULT_CATALOG, max_length=1000)
    """Known models; others that an inference service holds join with `unlisted_…`."""
    unlisted_quality: float = Field(default=0.3, ge=0, le=1)
    """Quality of unlisted models."""
    unlisted_price: float = Field(default=0.05, ge=0, le=1e6)
    """US dollars per 1e6 tokens of unlisted models, and of listed ones without."""
    default_strategy: str = Field(default="balanced", min_length=1, max_length=64)
    """Strategy when a request names none."""
    balanced: StrategyWeights = StrategyWeights()
    """Weights of the strategy `balanced`."""
    strategies: dict[_StrategyName, StrategySettings] = Field(default_factory=dict, max_length=100)
    """Strategies of one's own, by name."""
    breaker: BreakerSettings = BreakerSettings()
    """Circuit breakers of the endpoints."""
    hedging: HedgingSettings | None = HedgingSettings()
    """Hedges of strategies that have them, as `speed-priority` does; `null` allows none."""
    learned: LearnedSettings = LearnedSettings()
    """Learned routing, and its memory of graded answers."""
    decisions: DecisionSettings = DecisionSettings()
    """Memory of past choices."""
    fallbacks: int = Field(default=2, ge=0, le=15)
    """Fallbacks in a plan at most."""
    expected_output_tokens: int = Field(default=256, ge=1, le=1_000_000)
    """Answer length assumed when a request sets no limit."""
    inference_addresses: tuple[Address, ...] = Field(default=("127.0.0.1:50054",), max_length=256)
    """Inference services, `host:port` each."""
    refresh_interval_seconds: float = Field(default=1.0, ge=0.01, le=60)
    """Pause between two looks at an inference service; one silent for two of them is no longer
    planned with."""
    load_report_seconds: float = Field(default=0.25, ge=0, le=60)
    """Time between two load reports (ORCA) of an inference service that offers them; 0 asks for
    none."""
    placement: PlacementSettings = PlacementSettings()
    """Placement of models over inference services."""
    scaling: ScalingSettings = ScalingSettings()
    """Replicas that metrics ask autoscalers for."""
    statistics_half_life_seconds: float = Field(default=300.0, ge=1, le=86_400)
    """Age at which an observation counts half."""
    state_path: Path | None = None
    """File that keeps rollouts, breakers, grades and what inference services held over a restart,
    past choices beside it; absent takes `selector.sqlite` in the data directory."""
    redis: RedisSettings | None = None
    """Server that several selectors share rollouts, breakers and grades by."""
    affinity_bound: float = Field(default=1.5, ge=1, le=100)
    """A conversation leaves the replica that knows it once that has so many times the mean load."""

    def state_file(self, data: Path) -> Path:
        """Return the file of what is kept over a restart, by default below the data directory."""
        return self.state_path or data / "selector.sqlite"

    def decisions_file(self, data: Path) -> Path:
        """Return the file of past choices, beside that of the state."""
        state = self.state_file(data)
        return state.with_name(f"{state.stem}-decisions{state.suffix}")

    @field_validator("catalog")
    @classmethod
    def _names_are_clear(cls, catalog: tuple[CatalogEntry, ...]) -> tuple[CatalogEntry, ...]:
        twice = [name for name, count in Counter(one.name for one in catalog).items() if count > 1]
        if twice:
            raise ValueError(f"names {twice[0]} twice; keep one of the entries")
        leads: dict[str, set[str]] = {}
        for entry in catalog:
            for alias in entry.aliases:
                leads.setdefault(alias, set()).add(entry.name)
        try:
            TopologicalSorter(leads).prepare()
        except CycleError as error:
            around = " -> ".join(reversed(error.args[1]))
            raise ValueError(f"has aliases that lead in a circle: {around}") from None
        taken = sorted(leads.keys() & {one.name for one in catalog})
        if taken:
            told = f"{min(leads[taken[0]])} the alias {taken[0]}, which is a model's own name"
            raise ValueError(f"gives {told}; leave it out")
        return catalog

    @model_validator(mode="after")
    def _pools_are_watched(self) -> SelectorSettings:
        for name, pool in self.scaling.pools.items():
            if unknown := sorted(set(pool.addresses) - set(self.inference_addresses)):
                told = f"{unknown[0]}, which is not among inference_addresses; add it there"
                raise ValueError(f"scaling.pools.{name}.addresses has {told}")
        return self

    @field_validator("catalog")
    @classmethod
    def _someone_has_weight(cls, catalog: tuple[CatalogEntry, ...]) -> tuple[CatalogEntry, ...]:
        if catalog and not any(entry.weight for entry in catalog):
            raise ValueError("gives every model the weight 0; give at least one some weight")
        return catalog
