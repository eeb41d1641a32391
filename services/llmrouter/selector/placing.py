"""Carries plans of placement out: load there, let requests go there, drain here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from grpc import aio

from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.selector.placement import Action, Node, Step, plan_placement
from llmrouter.selector.placement_settings import PlacementSettings
from llmrouter.v1 import model_pb2 as pb
from llmrouter.v1.model_pb2_grpc import ModelServiceStub

__all__ = ["PlacementController"]

_log = structlog.get_logger("llmrouter.placement")


class PlacementController:
    """Plans from time to time, and does what was planned before it plans again.

    Args:
        nodes: What the inference services hold and how busy they are: `EndpointWatcher.nodes`.
        channel: Gives the channel to an address; its owner closes it.
        settings: How often, towards what, and whether anything is done.
    """

    def __init__(
        self,
        nodes: Callable[[], tuple[Node, ...]],
        channel: Callable[[str], Any],
        settings: PlacementSettings,
    ) -> None:
        self._nodes, self._channel, self._settings = nodes, channel, settings
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless placement is off."""
        if self._settings.mode != "off":
            self._task = asyncio.create_task(self._run(), name="placement")

    async def close(self) -> None:
        """End; what was begun on an inference service goes on there. Safe to call twice."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def look(self) -> tuple[Step, ...]:
        """Plan once, carry it out unless this is a dry run, and return the plan."""
        dry = self._settings.mode == "dry-run"
        steps = plan_placement(self._nodes(), self._settings.targets)
        for step in steps:
            _log.info(
                "placement planned" if dry else "placement", action=step.action.value,
                model=f"{step.name}@{step.version}", address=step.address, why=step.why,
            )  # fmt: skip
            if not dry and not await self._done(step):
                break
        return steps

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
            why = from_rpc_error(error, f"inference at {step.address}").message
            _log.warning("placement given up", action=step.action.value, model=step.name, why=why)
            return False
        return True

    async def _load(self, step: Step) -> None:
        request = pb.ModelServiceLoadRequest(model=step.name, version=step.version)
        stub = ModelServiceStub(self._channel(step.address))
        async for _ in stub.Load(request, timeout=self._settings.step_timeout_seconds):
            pass

    async def _unload(self, step: Step) -> None:
        request = pb.ModelServiceUnloadRequest(model=step.name, version=step.version)
        stub = ModelServiceStub(self._channel(step.address))
        await stub.Unload(request, timeout=self._settings.step_timeout_seconds)
