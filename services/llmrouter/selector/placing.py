"""Carries plans of placement out: load there, let requests go there, drain here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from grpc import aio

from llmrouter.common.background import BackgroundTask
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.selector.placement import Action, Node, Place, Step, plan_placement
from llmrouter.selector.placement_kept import Kept
from llmrouter.selector.placement_setbacks import Setbacks
from llmrouter.selector.placement_settings import PlacementSettings
from llmrouter.selector.state_store import Documents, StateStore
from llmrouter.v1 import model_pb2 as pb
from llmrouter.v1.model_pb2_grpc import ModelServiceStub

__all__ = ["KIND", "PlacementController"]

KIND = "placed"
"""Of the documents, one per place where placement loaded a version, empty."""
_log = structlog.get_logger("llmrouter.placement")


class PlacementController:
    """Plans from time to time, and does what was planned before it plans again.

    Args:
        nodes: What the inference services hold and how busy they are: `EndpointWatcher.nodes`.
        channel: Gives the channel to an address; its owner closes it.
        settings: How often, towards what, and whether anything is done.
        places: Whether this is the one selector that does anything now.
        clock: Seconds, never going back.
        store: Keeps where placement loaded what, for this selector and those that place after it.
    """

    def __init__(
        self,
        nodes: Callable[[], tuple[Node, ...]],
        channel: Callable[[str], Any],
        settings: PlacementSettings,
        places: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        store: StateStore | None = None,
    ) -> None:
        self._nodes, self._channel, self._settings = nodes, channel, settings
        self._places, self._clock = places, clock
        self._placed = True
        """Whether this selector was the one when it looked last."""
        self._setbacks = Setbacks(settings.retry_seconds)
        self._store = store
        self._kept = Kept(settings.lost_seconds, self._keep)
        self._looking = BackgroundTask("placement")

    def restore(self, documents: Documents) -> None:
        """Go on with what was kept before a restart."""
        for key in documents.get(KIND, {}):
            self.take(key, {})

    def take(self, key: str, data: Mapping[str, Any] | None) -> None:
        """Take in that another selector loaded a version, or that it is not there any more."""
        name, version, address = (*key.rsplit(" ", 2), "", "")[:3]
        self._kept.told((address, (name, version)), placed=data is not None)

    def start(self) -> None:
        """Begin, unless placement is off."""
        if self._settings.mode != "off":
            self._looking.start(self._run())

    async def close(self) -> None:
        """End; what was begun on an inference service goes on there. Safe to call twice."""
        await self._looking.close()

    async def look(self) -> tuple[Step, ...]:
        """Plan once, carry it out unless this is a dry run, and return the plan.

        While another selector places there is no plan; before each step it is asked anew.
        """
        dry = self._settings.mode == "dry-run"
        nodes = self._nodes()
        steps = self._planned(nodes)
        if not (dry or self._leads()):
            return ()
        for step in steps:
            if not (dry or self._leads()):
                break
            _log.info(
                "placement planned" if dry else "placement", action=step.action.value,
                model=f"{step.name}@{step.version}", address=step.address, why=step.why,
            )  # fmt: skip
            if dry:
                continue
            if not await self._done(step):
                break
            self._take_in(step, nodes)
        return steps

    def _leads(self) -> bool:
        """Whether this selector may do anything now; a change is told."""
        leads = self._places()
        if leads is not self._placed:
            why = "" if leads else "another selector places, or the state they share is away"
            _log.info("placement resumes" if leads else "placement rests", why=why)
        self._placed = leads
        return leads

    def _planned(self, nodes: Sequence[Node]) -> tuple[Step, ...]:
        now = self._clock()
        for address, (name, version) in self._setbacks.take(nodes, now):
            _log.warning(
                "placement leaves out where a load failed", model=f"{name}@{version}",
                address=address, seconds=self._settings.retry_seconds,
            )  # fmt: skip
        avoided, lost = self._setbacks.avoided(now), self._kept.take(nodes, now)
        return plan_placement(nodes, self._settings.targets, avoided=avoided, lost=lost)

    def _take_in(self, step: Step, nodes: Sequence[Node]) -> None:
        """Remember what was done."""
        [node] = (one for one in nodes if one.address == step.address)
        if step.action is Action.LOAD:
            self._kept.loaded(node, step.key)
        else:
            self._kept.unloaded(step.address, step.key)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.interval_seconds)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - whatever goes wrong, the next plan comes
                _log.exception("placement failed")

    async def _done(self, step: Step) -> bool:
        """Do one step; False when it failed, and those after it must not be done."""
        try:
            await (self._load if step.action is Action.LOAD else self._unload)(step)
        except aio.AioRpcError as error:
            self._give_up(step, from_rpc_error(error, f"inference at {step.address}").message)
            return False
        return True

    def _give_up(self, step: Step, why: str) -> None:
        again = self._settings.interval_seconds
        if step.action is Action.LOAD:
            self._setbacks.failed(step.address, step.key, self._clock())
            again = self._settings.retry_seconds
        _log.warning(
            "placement given up", action=step.action.value, model=f"{step.name}@{step.version}",
            address=step.address, not_again_for_seconds=again, why=why,
        )  # fmt: skip

    async def _load(self, step: Step) -> None:
        request = pb.ModelServiceLoadRequest(model=step.name, version=step.version)
        stub = ModelServiceStub(self._channel(step.address))
        async for _ in stub.Load(request, timeout=self._settings.step_timeout_seconds):
            pass

    async def _unload(self, step: Step) -> None:
        request = pb.ModelServiceUnloadRequest(model=step.name, version=step.version)
        stub = ModelServiceStub(self._channel(step.address))
        await stub.Unload(request, timeout=self._settings.step_timeout_seconds)

    def _keep(self, place: Place, placed: bool) -> None:
        if self._store is not None:
            address, key = place
            self._store.put(KIND, " ".join((*key, address)), {} if placed else None)
