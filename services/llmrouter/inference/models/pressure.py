"""How short memory is, and what follows from it: a state machine over plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from llmrouter.common.generation import Priority

__all__ = ["Pressure", "Relief", "Thresholds", "admits", "loads", "next_pressure", "relief_of"]


class Pressure(IntEnum):
    """How short memory is; a higher one includes what the lower ones ask for."""

    NONE = 0
    WARNING = 1
    CRITICAL = 2
    EMERGENCY = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which share of the memory that is in use on a pressure begins; 0 to 1, rising."""

    warning: float = 0.70
    critical: float = 0.85
    emergency: float = 0.95
    margin: float = 0.05
    """How far below its threshold the share has to fall before a pressure ends."""

    def of(self, pressure: Pressure) -> float:
        """Return where a pressure begins."""
        return (0.0, self.warning, self.critical, self.emergency)[pressure]


@dataclass(frozen=True, slots=True)
class Relief:
    """What is given up while memory is short."""

    prefixes: float
    """Share of the memory for earlier prompts that may stay in use, 0 to 1."""
    idle_seconds: float
    """Models that nobody has used for this long are unloaded."""


_RELIEF = {
    Pressure.WARNING: Relief(prefixes=0.5, idle_seconds=60.0),
    Pressure.CRITICAL: Relief(prefixes=0.0, idle_seconds=0.0),
    Pressure.EMERGENCY: Relief(prefixes=0.0, idle_seconds=0.0),
}
_ADMITTED = {
    Pressure.NONE: frozenset(Priority),
    Pressure.WARNING: frozenset(Priority),
    Pressure.CRITICAL: frozenset({Priority.NORMAL, Priority.HIGH}),
    Pressure.EMERGENCY: frozenset({Priority.HIGH}),
}


def next_pressure(now: Pressure, share: float, thresholds: Thresholds) -> Pressure:
    """Return the pressure at which `share` of the memory is in use, after it was `now`.

    It rises at once; it falls only when the share is below its threshold by the margin, so that
    what frees a little memory does not end and begin it in turn.
    """
    reached = max(one for one in Pressure if share >= thresholds.of(one) or one is Pressure.NONE)
    while now > reached and share < thresholds.of(now) - thresholds.margin:
        now = Pressure(now - 1)
    return max(now, reached)


def relief_of(pressure: Pressure) -> Relief | None:
    """Return what is given up; None while memory is not short."""
    return _RELIEF.get(pressure)


def admits(pressure: Pressure, priority: Priority) -> bool:
    """Whether new work of this priority is let in."""
    return priority in _ADMITTED[pressure]


def loads(pressure: Pressure) -> bool:
    """Whether models may be loaded."""
    return pressure < Pressure.EMERGENCY
