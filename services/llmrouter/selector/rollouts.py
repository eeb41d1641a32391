"""Rollouts: a new version gets more and more of the traffic, or none of it once it is worse.

    RUNNING <──resume── PAUSED        every stage needs its time and enough samples
       │ ───pause────>    │
       ├── last stage done ──> COMPLETED
       ├── worse ────────────> ROLLED_BACK
       └── abort ────────────> ABORTED

Pure state machines: time is passed in as seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from llmrouter.selector.comparison import Samples, fails_too_often, finite, slower
from llmrouter.selector.statistics import Observation

__all__ = ["Rollout", "RolloutSpec", "RolloutState"]


class RolloutState(StrEnum):
    """Where a rollout is."""

    RUNNING = "running"
    PAUSED = "paused"
    """Keeps its share; still rolls back."""
    COMPLETED = "completed"
    """All traffic goes to the new version."""
    ROLLED_BACK = "rolled-back"
    """The new version was worse: it gets no traffic."""
    ABORTED = "aborted"
    """Someone ended it: the new version gets no traffic."""

    @property
    def active(self) -> bool:
        """Whether it may still move."""
        return self in {RolloutState.RUNNING, RolloutState.PAUSED}


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """What is to be rolled out, and how."""

    model: str
    old: str
    """The version that has the traffic."""
    new: str
    """The version that is to get it."""
    stages: tuple[float, ...] = (0.1, 0.3, 0.7, 1.0)
    """Shares of the traffic, rising, over 0 to 1."""
    interval: float = 300.0
    """Seconds that a stage lasts at least."""
    min_samples: int = 50
    """Attempts on the new version that a stage needs."""
    max_error_rate: float = 0.05
    """Share of failures beyond which it is rolled back."""
    max_slowdown: float = 1.25
    """How many times slower than the old version it may be, to the first token and per token."""
    shadow: float = 0.0
    """Share of the requests that the new version answers for nobody, in a stage before the first;
    0 has no such stage."""

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> RolloutSpec:
        """Return what `data` told, each field of its own kind.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: It tells something else.
        """
        spec = cls(
            model=str(data["model"]),
            old=str(data["old"]),
            new=str(data["new"]),
            stages=tuple(finite(one) for one in data["stages"]),
            interval=finite(data["interval"]),
            min_samples=int(data["min_samples"]),
            max_error_rate=finite(data["max_error_rate"]),
            max_slowdown=finite(data["max_slowdown"]),
            shadow=finite(data["shadow"]),
        )
        if not spec.stages or spec.max_slowdown <= 0:
            raise ValueError(f"a rollout by the stages {spec.stages} to {spec.max_slowdown} times")
        return spec


_END_RANKS = {
    RolloutState.RUNNING: 0,
    RolloutState.PAUSED: 0,
    RolloutState.COMPLETED: 1,
    RolloutState.ROLLED_BACK: 2,
    RolloutState.ABORTED: 3,
}
"""Of two selectors that see an end, the higher one stands."""


@dataclass(slots=True)
class Rollout:
    """One rollout."""

    spec: RolloutSpec
    state: RolloutState = RolloutState.RUNNING
    stage: int = 0
    """Index of the stage; -1 is the shadow stage."""
    reason: str = ""
    """One sentence for people: why it ended."""
    old: Samples = field(default_factory=Samples)
    """Since the beginning."""
    new: Samples = field(default_factory=Samples)
    """In this stage."""
    elapsed: float = 0.0
    """Seconds in this stage, up to `_seen`; pauses do not count."""
    _seen: float | None = None
    begun: float = 0.0
    """When it began, in seconds since the epoch: with the spec, it tells rollouts apart."""
    changes: int = 0
    """How often it was paused or resumed."""

    @classmethod
    def begin(cls, spec: RolloutSpec, now: float, begun: float = 0.0) -> Rollout:
        """Return a rollout that begins at `now`, `begun` seconds after the epoch."""
        return cls(spec, stage=-1 if spec.shadow > 0 else 0, _seen=now, begun=begun)

    @property
    def share(self) -> float:
        """The new version's share of the traffic, 0 to 1."""
        if self.state is RolloutState.COMPLETED:
            return 1.0
        return self.spec.stages[self.stage] if self.state.active and self.stage >= 0 else 0.0

    @property
    def shadow_share(self) -> float:
        """Share of the requests that the new version answers for nobody."""
        return self.spec.shadow if self.state.active and self.stage < 0 else 0.0

    def takes(self, place: float) -> bool:
        """Whether a session goes to the new version; once it does, later stages keep it there.

        Args:
            place: The session's own number, over 0 to below 1.
        """
        return place < self.share

    def observe(self, version: str, outcome: Observation, now: float) -> None:
        """Take in an attempt on either version."""
        if not self.state.active or version not in {self.spec.old, self.spec.new}:
            return
        (self.new if version == self.spec.new else self.old).add(outcome)
        self.look(now)

    def look(self, now: float) -> None:
        """Roll back or go on to the next stage if it is time to."""
        if not self.state.active:
            return
        self._pass(now)
        worse = self._worse()
        if worse:
            self._end(RolloutState.ROLLED_BACK, worse)
        elif self.state is RolloutState.RUNNING and self._stage_done():
            self._next_stage()

    def pause(self, now: float) -> None:
        """Hold the share as it is."""
        self._pass(now)
        self.state = RolloutState.PAUSED
        self.changes += 1

    def resume(self, now: float) -> None:
        """Go on after a pause."""
        self._seen = now
        self.state = RolloutState.RUNNING
        self.changes += 1

    def abort(self, reason: str) -> None:
        """Give all traffic back to the old version."""
        self._end(RolloutState.ABORTED, reason)

    def precedes(self, other: Rollout) -> bool:
        """Whether another one was begun later; of two begun at once, the same one everywhere."""
        return (self.begun, repr(self.spec)) < (other.begun, repr(other.spec))

    def join(self, other: Rollout, now: float) -> bool:
        """Take in how far another selector is with the same rollout.

        Evidence is each selector's own: the first that has enough of it decides for all. An end
        stands, a rollback above a completion.

        Returns:
            Whether the other one is behind.
        """
        here, there = _END_RANKS[self.state], _END_RANKS[other.state]
        if there > here:
            self.state, self.reason, self.stage = other.state, other.reason, other.stage
        elif self.state.active and other.state.active:
            if other.changes > self.changes:
                self._pass(now)
                self.state, self.changes = other.state, other.changes
            if other.stage > self.stage:
                self.stage, self.new, self.elapsed = other.stage, Samples(), 0.0
        mine = (_END_RANKS[self.state], self.changes, self.stage)
        return (there, other.changes, other.stage) < mine

    def _pass(self, now: float) -> None:
        """Let time pass; a clock that goes back, or a pause, adds nothing."""
        if self._seen is not None and self.state is RolloutState.RUNNING:
            self.elapsed += max(0.0, now - self._seen)
        self._seen = now

    def _worse(self) -> str:
        spec = self.spec
        if fails_too_often(self.new, spec.max_error_rate):
            return (
                f"{self.new.failures} of {self.new.attempts} attempts on {spec.new} failed, "
                f"more than {spec.max_error_rate:.0%}"
            )
        for name, old, new in (
            ("the first token", self.old.first, self.new.first),
            ("each token", self.old.per_token, self.new.per_token),
        ):
            if slower(old, new, spec.max_slowdown):
                return f"{spec.new} takes more than {spec.max_slowdown:g} times as long for {name}"
        return ""

    def _stage_done(self) -> bool:
        enough = self.new.attempts >= self.spec.min_samples
        return enough and self.elapsed >= self.spec.interval

    def _next_stage(self) -> None:
        if self.stage + 1 >= len(self.spec.stages):
            self._end(RolloutState.COMPLETED, f"{self.spec.new} held all its stages")
            return
        self.stage += 1
        self.new, self.elapsed = Samples(), 0.0

    def _end(self, state: RolloutState, reason: str) -> None:
        self.state, self.reason = state, reason

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "spec": asdict(self.spec),
            "state": self.state.value,
            "stage": self.stage,
            "reason": self.reason,
            "old": self.old.data(),
            "new": self.new.data(),
            "elapsed": self.elapsed,
            "begun": self.begun,
            "changes": self.changes,
        }

    @classmethod
    def from_data(cls, data: dict[str, Any], now: float) -> Rollout:
        """Return what `data` told, going on at `now`: time when nobody looked does not count.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: It tells something else.
        """
        found = cls(
            RolloutSpec.from_data(data["spec"]),
            RolloutState(data["state"]),
            int(data["stage"]),
            str(data["reason"]),
            Samples.from_data(data["old"]),
            Samples.from_data(data["new"]),
            finite(data["elapsed"]),
            now,
            finite(data.get("begun", 0.0)),
            int(data.get("changes", 0)),
        )
        if not -1 <= found.stage < len(found.spec.stages):
            raise ValueError(f"stage {found.stage} of {len(found.spec.stages)}")
        return found
