"""What can be configured of the selector; everything has a default."""

from __future__ import annotations

from pydantic import Field

from llmrouter.common.addresses import Address
from llmrouter.common.settings import Section
from llmrouter.selector.placement_settings import PlacementSettings

__all__ = ["CatalogEntry", "SelectorSettings", "StrategyWeights"]


class CatalogEntry(Section):
    """One model that requests may be routed to, as far as it is known before it is served."""

    name: str = Field(min_length=1, max_length=256, pattern=r"^[^@\s]+$", description="Model name.")
    aliases: tuple[str, ...] = Field(
        default=(), max_length=16, description="Other names that lead to it."
    )
    quality: float = Field(
        default=0.3, ge=0, le=1, description="Quality of the unquantised checkpoint, 0 to 1."
    )
    input_price: float = Field(
        default=0.05, ge=0, le=1e6, description="US dollars per 1e6 prompt tokens."
    )
    output_price: float = Field(
        default=0.05, ge=0, le=1e6, description="US dollars per 1e6 generated tokens."
    )


class StrategyWeights(Section):
    """How much each scorer counts in the strategy `balanced`."""

    speed: float = Field(default=0.3, ge=0, le=100, description="Weight of the expected time.")
    quality: float = Field(default=0.4, ge=0, le=100, description="Weight of the quality.")
    cost: float = Field(default=0.3, ge=0, le=100, description="Weight of the estimated cost.")
    compatibility: float = Field(
        default=1.0,
        ge=0,
        le=100,
        description="Weight of room in the context and of recent success.",
    )


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


class SelectorSettings(Section):
    """Settings of the selector (`selector:` in the file)."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        default=50052, ge=0, le=65535, description="Port to listen on; 0 takes a free one."
    )
    drain_grace_seconds: float = Field(
        default=5, ge=0, le=3600, description="Time that running calls have at shutdown."
    )
    catalog: tuple[CatalogEntry, ...] = Field(
        default=_DEFAULT_CATALOG,
        max_length=1000,
        description="Known models; others that an inference service holds join with `unlisted_…`.",
    )
    unlisted_quality: float = Field(
        default=0.3, ge=0, le=1, description="Quality of unlisted models."
    )
    unlisted_price: float = Field(
        default=0.05, ge=0, le=1e6, description="US dollars per 1e6 tokens of unlisted models."
    )
    default_strategy: str = Field(
        default="balanced",
        min_length=1,
        max_length=64,
        description="Strategy when a request names none.",
    )
    balanced: StrategyWeights = Field(
        default=StrategyWeights(), description="Weights of the strategy `balanced`."
    )
    fallbacks: int = Field(default=2, ge=0, le=15, description="Fallbacks in a plan at most.")
    expected_output_tokens: int = Field(
        default=256,
        ge=1,
        le=1_000_000,
        description="Answer length assumed when a request sets no limit.",
    )
    inference_addresses: tuple[Address, ...] = Field(
        default=("127.0.0.1:50054",),
        max_length=256,
        description="Inference services, `host:port` each.",
    )
    refresh_interval_seconds: float = Field(
        default=1.0,
        ge=0.01,
        le=60,
        description="Pause between two looks at an inference service; one silent for two of them "
        "is no longer planned with.",
    )
    placement: PlacementSettings = Field(
        default=PlacementSettings(), description="Placement of models over inference services."
    )
    statistics_half_life_seconds: float = Field(
        default=300.0, ge=1, le=86_400, description="Age at which an observation counts half."
    )
