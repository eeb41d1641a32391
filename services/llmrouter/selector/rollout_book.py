"""The rollouts of all models: which version each request goes to."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.plan import Selection
from llmrouter.selector.rollouts import Rollout, RolloutSpec, RolloutState
from llmrouter.selector.state_store import StateStore
from llmrouter.selector.statistics import Observation
from llmrouter.selector.view import CatalogView

__all__ = ["RolloutBook"]

_KIND = "rollout"
_LATER_SECONDS = 1e-3
_KEEP_SECONDS = 5.0
"""Samples are kept so often; changes of state at once."""
_log = logging.getLogger(__name__)


class RolloutBook:
    """The last rollout of each model, kept over a restart."""

    def __init__(
        self, store: StateStore | None = None, wall: Callable[[], float] = time.time
    ) -> None:
        """Make an empty book; without a store, a restart forgets it."""
        self._store, self._wall = store, wall
        self._rollouts: dict[str, Rollout] = {}
        self._kept: dict[str, tuple[RolloutState, int, float]] = {}

    def restore(self, documents: Mapping[str, dict[str, Any]], now: float) -> None:
        """Go on with what was kept; what cannot be read is told and left out."""
        for model, data in documents.items():
            try:
                rollout = Rollout.from_data(data, now)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                _log.warning("the kept rollout of %s cannot be read: %s", model, error)
                continue
            self._rollouts[model] = rollout
            self._kept[model] = (rollout.state, rollout.stage, now)

    def take(self, model: str, data: Mapping[str, Any] | None, now: float) -> None:
        """Take in what another selector tells of a rollout; what cannot be read is left out."""
        if data is None:
            return  # nobody drops one
        try:
            told = Rollout.from_data(dict(data), now)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            _log.warning("the shared rollout of %s cannot be read: %s", model, error)
            return
        known = self._rollouts.get(model)
        if known is None or known.precedes(told):
            self._rollouts[model] = told
            self._kept[model] = (told.state, told.stage, now)
        elif told.precedes(known) or known.join(told, now):
            self._tell(model, now)
        else:
            self._kept[model] = (known.state, known.stage, now)

    def start(self, spec: RolloutSpec, now: float) -> Rollout:
        """Begin a rollout.

        Raises:
            RouterError: ROLLOUT_CONFLICT while another one of the model is active.
        """
        active = self._rollouts.get(spec.model)
        if active is not None and active.state.active:
            raise RouterError(
                Reason.ROLLOUT_CONFLICT,
                f"{spec.model} is being rolled out to {active.spec.new} already; abort that first",
            )
        # A clock that was put back must not make it look older than the one that it follows.
        after = active.begun + _LATER_SECONDS if active is not None else 0.0
        self._rollouts[spec.model] = rollout = Rollout.begin(spec, now, max(self._wall(), after))
        self._keep(spec.model, now)
        return rollout

    def pause(self, model: str, now: float) -> Rollout:
        """Hold the share of a running rollout; a paused one stays as it is.

        Raises:
            RouterError: ROLLOUT_CONFLICT when none is active.
        """
        rollout = self._active(model)
        if rollout.state is RolloutState.RUNNING:
            rollout.pause(now)
        self._keep(model, now)
        return rollout

    def resume(self, model: str, now: float) -> Rollout:
        """Go on with a paused rollout; a running one stays as it is.

        Raises:
            RouterError: ROLLOUT_CONFLICT when none is active.
        """
        rollout = self._active(model)
        if rollout.state is RolloutState.PAUSED:
            rollout.resume(now)
        self._keep(model, now)
        return rollout

    def abort(self, model: str, now: float) -> Rollout:
        """End an active rollout; the old version gets all traffic.

        Raises:
            RouterError: ROLLOUT_CONFLICT when none is active.
        """
        rollout = self._active(model)
        rollout.abort("someone aborted it")
        self._keep(model, now)
        return rollout

    def observe(self, model: str, version: str, outcome: Observation, now: float) -> None:
        """Take in an attempt; it may end the rollout or begin its next stage."""
        rollout = self._rollouts.get(model)
        if rollout is not None:
            rollout.observe(version, outcome, now)
            self._keep(model, now)

    def all(self, now: float) -> Iterator[Rollout]:
        """Yield the rollouts in order of their models, as they are at `now`."""
        for model in sorted(self._rollouts):
            self._rollouts[model].look(now)
            self._keep(model, now)
            yield self._rollouts[model]

    def sharing(self) -> set[tuple[str, str]]:
        """Return the versions that rollouts give traffic to, or take it from."""
        specs = [(model, one.spec) for model, one in self._rollouts.items()]
        return {(model, version) for model, spec in specs for version in (spec.old, spec.new)}

    def left(self, view: CatalogView) -> set[tuple[str, str]]:
        """Return the versions that get no traffic: all goes to the other one, which serves."""
        found = set()
        for model, one in self._rollouts.items():
            old, new = one.spec.old, one.spec.new
            gone, other = (old, new) if one.share >= 1 else (new, old)
            if not 0 < one.share < 1 and view.find(model, other) is not None:
                found.add((model, gone))
        return found

    def preferred(self, view: CatalogView, request: Selection) -> NDArray[np.intp] | None:
        """Return for each row the one that this request goes to instead, or -1; None if none."""
        found = None
        for model, rollout in self._rollouts.items():
            old = view.rows.get((model, rollout.spec.old))
            new = view.rows.get((model, rollout.spec.new))
            if old is None or new is None:
                continue
            if found is None:
                found = np.full(len(view.models), -1, np.intp)
            if rollout.takes(_place(request, rollout.spec)):
                found[old] = new
            else:
                found[new] = old
        return found

    def shadow(self, model: str, version: str, request: Selection) -> str:
        """Return the version that is to answer as well, for nobody; empty for none."""
        rollout = self._rollouts.get(model)
        if rollout is None or version != rollout.spec.old or rollout.shadow_share <= 0:
            return ""
        place = _number(f"shadow {request.request_id}".encode())
        return rollout.spec.new if place < rollout.shadow_share else ""

    def _active(self, model: str) -> Rollout:
        rollout = self._rollouts.get(model)
        if rollout is None or not rollout.state.active:
            state = f"is {rollout.state.value}" if rollout else "was never started"
            raise RouterError(
                Reason.ROLLOUT_CONFLICT, f"the rollout of {model[:256]!r} {state}; start one first"
            )
        return rollout

    def _keep(self, model: str, now: float) -> None:
        rollout = self._rollouts[model]
        state, stage, at = self._kept.get(model, (None, 0, 0.0))
        moved = (state, stage) != (rollout.state, rollout.stage)
        if moved:
            _log.info(
                "rollout of %s to %s: %s, %.0f %% of the traffic %s", model, rollout.spec.new,
                rollout.state.value, 100 * rollout.share, rollout.reason,
            )  # fmt: skip
        if moved or not 0 <= now - at < _KEEP_SECONDS:
            self._tell(model, now)

    def _tell(self, model: str, now: float) -> None:
        rollout = self._rollouts[model]
        self._kept[model] = (rollout.state, rollout.stage, now)
        if self._store is not None:
            self._store.put(_KIND, model, rollout.data())


def _place(request: Selection, spec: RolloutSpec) -> float:
    """Return the number of a request's session, the same in all stages of a rollout."""
    session = request.wishes.session or request.user
    who = session.encode() or request.conversation_key or request.request_id.encode()
    return _number(f"{spec.model}@{spec.new} {request.tenant} ".encode() + who)


def _number(key: bytes) -> float:
    """Return a number over 0 to below 1."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2.0**64
