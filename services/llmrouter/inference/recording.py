"""The steps of all loaded engines, for whoever records a profile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llmrouter.common.profiling.formats import Step
from llmrouter.inference.backends.base import StepRecorder
from llmrouter.inference.models.registry import ModelRegistry

__all__ = ["EngineSteps"]

_MAX_STEPS = 20_000
"""Of one engine: a minute of steps of 3 ms."""


class EngineSteps:
    """A `StepSource` over the models of a registry; those that keep no steps are left out."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._begun: dict[str, StepRecorder] = {}

    def begin(self) -> None:
        """Begin with the models that are loaded now."""
        self._begun = dict(self._recorders())
        for recorder in self._begun.values():
            recorder.record_steps(_MAX_STEPS)

    def take(self) -> dict[str, Sequence[Step]]:
        """Return the steps of those that are loaded still."""
        begun, self._begun = self._begun, {}
        there = dict(self._recorders())
        taken = {
            name: recorder.take_steps()
            for name, recorder in begun.items()
            if there.get(name) is recorder
        }
        return {name: steps for name, steps in taken.items() if steps}

    def _recorders(self) -> Iterator[tuple[str, StepRecorder]]:
        for held in self._registry.models:
            if held.opened is not None and isinstance(held.opened.engine, StepRecorder):
                yield f"{held.key.name}@{held.version.fingerprint}", held.opened.engine
