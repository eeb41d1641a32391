"""What can be configured of how models are chosen: scorers, pickers, learning, hedges."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from llmrouter.common.settings import Section

__all__ = ["HedgingSettings", "LearnedSettings", "StrategySettings", "StrategyWeights"]


class StrategyWeights(Section):
    """How much each scorer counts in the strategy `balanced`."""

    speed: float = Field(default=0.3, ge=0, le=100)
    """Weight of the expected time."""
    quality: float = Field(default=0.4, ge=0, le=100)
    """Weight of the quality."""
    cost: float = Field(default=0.3, ge=0, le=100)
    """Weight of the estimated cost."""
    compatibility: float = Field(default=1.0, ge=0, le=100)
    """Weight of room in the context and of recent success."""

    @model_validator(mode="after")
    def _some_weight(self) -> StrategyWeights:
        if not any(self.model_dump().values()):
            raise ValueError("has only weights of 0; give at least one scorer weight")
        return self


ScorerName = Literal["speed", "quality", "cost", "value", "compatibility", "load", "weight"]
PickerName = Literal["best", "weighted-random", "power-of-two", "round-robin"]


class StrategySettings(Section):
    """A strategy of one's own, composed of the known scorers and pickers."""

    weights: dict[ScorerName, float] = Field(default_factory=dict)
    """How much each scorer counts; those left out do not."""
    picker: PickerName = "best"
    """How the scores lead to an order."""
    hedged: bool = False
    """Whether a second model is asked where the first is slow to begin."""
    min_quality: float = Field(default=0.0, ge=0, le=1)
    """Models of lower quality are excluded."""

    @field_validator("weights")
    @classmethod
    def _in_bounds(cls, weights: dict[ScorerName, float]) -> dict[ScorerName, float]:
        for name, weight in weights.items():
            if not 0 <= weight <= 100:
                raise ValueError(f"gives {name} the weight {weight}; it must be 0 to 100")
        if weights and not any(weights.values()):
            raise ValueError("has only weights of 0; give at least one scorer weight")
        return weights

    @model_validator(mode="after")
    def _scores_where_needed(self) -> StrategySettings:
        if self.picker in {"best", "power-of-two"} and not self.weights:
            raise ValueError(f"has no weights, by which `{self.picker}` picks; give some")
        return self


class HedgingSettings(Section):
    """When a second model is asked because the first is slow to begin."""

    quantile: float = Field(default=0.95, ge=0.5, lt=1)
    """Share of a model's first tokens that come before the second one is asked."""
    least_seconds: float = Field(default=0.05, ge=0, le=3600)
    """It is never asked sooner than this."""
    least_observations: float = Field(default=20, ge=1, le=1_000_000)
    """First tokens that must have been seen of late, lest the wait be a guess."""


class LearnedSettings(Section):
    """The strategy `learned`, and what it learns from."""

    tolerance: float = Field(default=0.05, ge=0, le=1)
    """How much lower than the best one a cheaper model's chance may be."""
    exploration: float = Field(default=0.05, ge=0, le=0.2)
    """Share of requests that go to a model of which little is known; 0 is never."""
    enough_grades: int = Field(default=200, ge=1, le=1_000_000)
    """Graded answers after which a model is not explored any more."""
    examples: int = Field(default=4096, ge=16, le=8192)
    """Graded prompts remembered, about 1 KiB each; the oldest go first."""
