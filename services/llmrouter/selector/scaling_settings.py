"""What can be configured of desired replicas; everything has a default."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from llmrouter.common.addresses import Address
from llmrouter.common.settings import Section
from llmrouter.selector.scaling import Bounds, ScaleTargets, Windows

__all__ = ["PoolSettings", "ScalingSettings"]


class PoolSettings(Section):
    """Inference services that are scaled together."""

    addresses: tuple[Address, ...] = Field(min_length=1, max_length=256)
    """Its services, `host:port` each, those too that are not there yet; all stand among
    `inference_addresses`."""
    least: int = Field(default=1, ge=1, le=256)
    """Fewest replicas that are asked for."""
    most: int = Field(default=256, ge=1, le=256)
    """Most replicas that are asked for."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least {self.least} must not exceed most {self.most}")
        return self

    @property
    def bounds(self) -> Bounds:
        """How many there may be."""
        return Bounds(self.least, self.most)


class ScalingSettings(Section):
    """The replicas that metrics ask autoscalers for (`selector.scaling`)."""

    interval_seconds: float = Field(default=5.0, ge=1, le=3600)
    """Pause between two looks at the load."""
    cpu_target: float = Field(default=0.70, gt=0, le=1)
    """Share of a service's cores aimed at."""
    slots_target: float = Field(default=0.85, gt=0, le=1)
    """Share of the slots of its busiest model aimed at; requests that wait count as well."""
    up_seconds: float = Field(default=30.0, ge=0, le=3600)
    """How long the load must be over 1.2 times the target before more replicas are asked for."""
    down_seconds: float = Field(default=300.0, ge=0, le=3600)
    """How long it must be under half of the target before fewer are."""
    pools: dict[str, PoolSettings] = Field(default={}, max_length=64)
    """Which services are scaled together, by the name that metrics show; without any, all are the
    pool `default`."""

    @property
    def targets(self) -> ScaleTargets:
        """What is aimed at."""
        return ScaleTargets(self.cpu_target, self.slots_target)

    @property
    def windows(self) -> Windows:
        """How long is long enough."""
        return Windows(self.up_seconds, self.down_seconds)
