"""Looks at the load from time to time, and keeps how many replicas it asks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from llmrouter.common.background import BackgroundTask
from llmrouter.selector.placement import Node
from llmrouter.selector.scaling import Bounds, Steadied, loads_of, model_loads, wanted
from llmrouter.selector.scaling_settings import ScalingSettings

__all__ = ["Scale", "ScaleWatch"]

_DEFAULT_POOL = "default"
_MAX_MODELS = 1024
_log = structlog.get_logger("llmrouter.scaling")


@dataclass(frozen=True, slots=True)
class Scale:
    """What is asked for, and from what it follows."""

    replicas: int
    """Those that were heard of."""
    desired: int
    loads: Mapping[str, float] = field(default_factory=dict)
    """By resource; 1 is the target."""


class ScaleWatch:
    """Says how many replicas every pool and every model should have.

    Of a pool that nothing is heard of, what was asked for last stands: who is silent is not idle.
    One that was never heard of is not spoken of.

    Args:
        nodes: What the inference services hold and how busy they are: `EndpointWatcher.nodes`.
        settings: Pools, targets and patience.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        nodes: Callable[[], tuple[Node, ...]],
        settings: ScalingSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pools: dict[str, Scale] = {}
        """By name."""
        self.models: dict[str, Scale] = {}
        """By name, of those that are ready somewhere; 1,024 at most."""
        self._nodes, self._settings, self._clock = nodes, settings, clock
        self._steadied: dict[tuple[str, str], Steadied] = {}
        self._task = BackgroundTask("scaling")

    def start(self) -> None:
        """Begin to look."""
        self._task.start(self._run())

    async def close(self) -> None:
        """End. Safe to call twice."""
        await self._task.close()

    def look(self) -> None:
        """Take in how busy all are now."""
        nodes, targets = self._nodes(), self._settings.targets
        for name, bounds, members in self._members(nodes):
            if loads := loads_of(members, targets):
                scale = self._scale("pool", name, len(members), loads, bounds)
                self._tell(name, self.pools.get(name), scale)
                self.pools[name] = scale
        models = sorted(model_loads(nodes, targets).items())[:_MAX_MODELS]
        self.models = {
            name: self._scale("model", name, replicas, {"slots": load}, Bounds())
            for name, (replicas, load) in models
        }
        gone = {key for key in self._steadied if key[0] == "model" and key[1] not in self.models}
        for key in gone:
            del self._steadied[key]

    def _members(self, nodes: Sequence[Node]) -> Iterator[tuple[str, Bounds, Sequence[Node]]]:
        if not self._settings.pools:
            yield _DEFAULT_POOL, Bounds(), nodes
        for name, pool in self._settings.pools.items():
            members = frozenset(pool.addresses)
            yield name, pool.bounds, [one for one in nodes if one.address in members]

    def _scale(
        self, kind: str, name: str, replicas: int, loads: Mapping[str, float], bounds: Bounds
    ) -> Scale:
        steadied = self._steadied.setdefault((kind, name), Steadied(self._settings.windows))
        now = wanted(max(loads.values()), replicas, bounds, self._settings.targets)
        desired = steadied.take(self._clock(), now, replicas)
        return Scale(replicas, bounds.held(desired), loads)

    def _tell(self, name: str, before: Scale | None, now: Scale) -> None:
        if before is not None and before.desired != now.desired:
            loads = {resource: round(load, 2) for resource, load in now.loads.items()}
            _log.info(
                "desired replicas", pool=name, desired=now.desired, replicas=now.replicas, **loads
            )

    async def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # noqa: BLE001 - whatever goes wrong, the next look comes
                _log.exception("scaling failed")
            await asyncio.sleep(self._settings.interval_seconds)
