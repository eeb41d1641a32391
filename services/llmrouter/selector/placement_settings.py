"""What can be configured of placement; everything has a default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from llmrouter.common.settings import Section, unquoted_off
from llmrouter.selector.placement import Targets

__all__ = ["PlacementSettings"]


class PlacementSettings(Section):
    """Placement of models over several inference services (`selector.placement`)."""

    mode: Annotated[Literal["off", "dry-run", "on"], BeforeValidator(unquoted_off)] = "off"
    """`dry-run` logs what would be done; `on` does it. With one service, nothing."""
    interval_seconds: float = Field(default=60.0, ge=0.05, le=86_400)
    """Pause between two plans."""
    step_timeout_seconds: float = Field(default=900.0, ge=1, le=86_400)
    """Time that a load or an unload may take."""
    retry_seconds: float = Field(default=600.0, ge=0, le=86_400)
    """How long a service where the load of a model failed is not asked to load it."""
    lost_seconds: float = Field(default=120.0, ge=0, le=86_400)
    """How long a model that served must be held by nobody before it is loaded again: a service that
    restarts is away as well."""
    cpu_target: float = Field(default=0.70, gt=0, le=1)
    """Share of a service's cores aimed at."""
    memory_target: float = Field(default=0.80, gt=0, le=1)
    """Share of a machine's memory aimed at."""
    replicas: int = Field(default=2, ge=1, le=256)
    """Replicas of a model that are kept, where there are."""

    @property
    def targets(self) -> Targets:
        """What plans aim at."""
        return Targets(self.cpu_target, self.memory_target, replicas=self.replicas)
