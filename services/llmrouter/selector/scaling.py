"""How many replicas are wanted: load over its target, with hysteresis and memory.

Pure. A load of 1 is the target itself. Processors and slots are looked at, since both fall as
replicas are added; memory does not, for each replica holds the same weights: placement sees to it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmrouter.selector.placement import Node

__all__ = ["Bounds", "ScaleTargets", "Steadied", "Windows", "loads_of", "model_loads", "wanted"]

_ROUNDING = 1e-9
"""What sums of floats may be off: 3 replicas at a load of 4/3 want 4, not 5."""


@dataclass(frozen=True, slots=True)
class ScaleTargets:
    """What is aimed at; shares are 0 to 1."""

    cpu: float = 0.70
    """Of a service's cores."""
    slots: float = 0.85
    """Of the slots of its busiest model, requests that wait counted as well; GPUs go by it."""
    high: float = 1.2
    """Above the target times this, more replicas are wanted."""
    low: float = 0.5
    """Below it times this, fewer are."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many replicas there may be."""

    least: int = 1
    most: int = 256

    def held(self, count: int) -> int:
        """Return the number within the bounds that is nearest."""
        return max(self.least, min(self.most, count))


@dataclass(frozen=True, slots=True)
class Windows:
    """Seconds for which more, or fewer, must have been wanted all the while."""

    up: float = 30.0
    down: float = 300.0


def loads_of(nodes: Sequence[Node], targets: ScaleTargets) -> Mapping[str, float]:
    """Return the mean load of some services by resource; none of none."""
    if not nodes:
        return {}
    busiest = (max((one.busy for one in node.holdings if one.ready), default=0) for node in nodes)
    return {
        "cpu": sum(node.cpu for node in nodes) / len(nodes) / targets.cpu,
        "slots": sum(busiest) / len(nodes) / targets.slots,
    }


def model_loads(nodes: Iterable[Node], targets: ScaleTargets) -> Mapping[str, tuple[int, float]]:
    """Return of every model that is ready somewhere its replicas and their mean load by slots."""
    busy: dict[str, list[float]] = {}
    for node in nodes:
        for one in node.holdings:
            if one.ready:
                busy.setdefault(one.name, []).append(one.busy)
    return {name: (len(each), sum(each) / len(each) / targets.slots) for name, each in busy.items()}


def wanted(load: float, replicas: int, bounds: Bounds, targets: ScaleTargets) -> int:
    """Return how many replicas would bring a load back to its target.

    Between the two thresholds as many as there are. Once so many serve, the same work wants no
    other number, whatever the thresholds were passed by.

    Args:
        load: Mean over the replicas; 1 is the target.
        replicas: How many there are; 1 or more.
        bounds: How many there may be.
        targets: The thresholds.
    """
    if targets.low <= load <= targets.high:
        return bounds.held(replicas)
    return bounds.held(math.ceil(replicas * load - _ROUNDING))


class Steadied:
    """Holds what is wanted back until it has been wanted long enough.

    Of what was wanted within the last moments, the least counts towards more replicas and the most
    towards fewer, as Kubernetes' autoscalers do it. What has just come into view, or comes again
    after long silence, is taken to have been right so far.

    Args:
        windows: How long is long enough.
    """

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._past: deque[tuple[float, int]] = deque()

    def take(self, now: float, wanted: int, replicas: int) -> int:
        """Return how many replicas to ask for.

        Args:
            now: Seconds, of a clock that never goes back.
            wanted: How many are wanted at this moment.
            replicas: How many there are.
        """
        while self._past and self._past[0][0] < now - max(self._windows.up, self._windows.down):
            self._past.popleft()
        if not self._past:
            self._past.append((now, replicas))
        if len(self._past) > 1 and self._past[-1][1] == self._past[-2][1] == wanted:
            self._past.pop()  # Of a run of the same, the first and the last look say all.
        self._past.append((now, wanted))
        up = min(self._since(now - self._windows.up))
        down = max(self._since(now - self._windows.down))
        return up if up > replicas else min(replicas, down)

    def _since(self, oldest: float) -> Iterable[int]:
        return (count for at, count in self._past if at >= oldest)
