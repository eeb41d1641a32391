"""What the inference services hold: every address is asked again and again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from llmrouter.common.wire import seconds
from llmrouter.selector.catalog import ServedModel
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1.inference_pb2_grpc import InferenceServiceStub

__all__ = ["EndpointWatcher"]

_MAX_MODELS = 1024
_MAX_PAUSE_SECONDS = 5.0
_log = logging.getLogger(__name__)


class EndpointWatcher:
    """Keeps the models of all inference services in view.

    An address that has been silent for two intervals is left out until it answers again. One task
    per address; pauses after failures double up to 5 seconds (or the interval, if that is longer).
    """

    def __init__(
        self,
        addresses: Sequence[str],
        channel: Callable[[str], Any],
        *,
        interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the watch; nothing is dialled before `start`.

        Args:
            addresses: `host:port` of each inference service.
            channel: Gives the channel to an address (grpc.aio or in-process); its owner closes it.
            interval: Seconds between two looks at an address, and the timeout of each.
            clock: Monotonic seconds.
        """
        self._addresses = tuple(dict.fromkeys(addresses))
        self._channel = channel
        self._interval = interval
        self._clock = clock
        self._seen: dict[str, tuple[float, tuple[ServedModel, ...]]] = {}
        self._looked: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, timeout: float = 2.0) -> None:  # noqa: ASYNC109 - a bound, not an error
        """Begin watching; returns once every address was looked at, or after `timeout` seconds."""
        for address in self._addresses:
            self._looked[address] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._watch(address), name=f"watch {address}"))
        waits = [asyncio.create_task(event.wait()) for event in self._looked.values()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout)
            for task in late:
                task.cancel()

    def served(self) -> tuple[ServedModel, ...]:
        """Return what the addresses heard of within two intervals hold, ready or not."""
        oldest = self._clock() - 2 * self._interval
        return tuple(one for at, models in self._seen.values() if at >= oldest for one in models)

    async def close(self) -> None:
        """Stop watching. Safe to call twice; the channels stay their owner's."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, address: str) -> None:
        failures = 0
        while True:
            failures = 0 if await self._look(address, failures) else failures + 1
            self._looked[address].set()
            await asyncio.sleep(self._pause(failures))

    def _pause(self, failures: int) -> float:
        longest = max(self._interval, _MAX_PAUSE_SECONDS)
        if failures == 1:
            return 0.0  # One late answer shall not take the models away: look again at once.
        return min(longest, self._interval * 2.0 ** max(0, min(failures, 16) - 2))

    async def _look(self, address: str, failures: int) -> bool:
        """Ask once; True when it answered."""
        try:
            stub = InferenceServiceStub(self._channel(address))
            answer = await stub.ListLoadedModels(
                pb.ListLoadedModelsRequest(), timeout=max(0.1, self._interval / 2)
            )
        except Exception as error:  # noqa: BLE001 - whatever an address does, the watch goes on
            if failures == 0:
                _log.warning("inference service %s does not answer: %s", address, _why(error))
            return False
        if failures:
            _log.info("inference service %s answers again", address)
        models = tuple(_decode(model, address) for model in answer.models[:_MAX_MODELS])
        self._seen[address] = (self._clock(), models)
        return True


def _why(error: Exception) -> str:
    details = getattr(error, "details", None)
    return str(details()) if callable(details) else f"{type(error).__name__}: {error}"


def _decode(model: pb.LoadedModel, address: str) -> ServedModel:
    quality = model.quality
    ratio = 1.0
    if quality.perplexity >= 1 and quality.reference_perplexity >= 1:
        ratio = min(1.0, quality.reference_perplexity / quality.perplexity)
    return ServedModel(
        name=model.name,
        version=model.version,
        address=address,
        ready=model.state == pb.MODEL_STATE_READY,
        error=model.error if model.state == pb.MODEL_STATE_FAILED else "",
        context=model.context,
        capabilities=frozenset(model.capabilities),
        quality_ratio=ratio,
        running=model.statistics.running,
        waiting=model.statistics.waiting,
        slots=model.statistics.slots,
        step_seconds=seconds(model.statistics.step_time),
        cache_bytes=model.statistics.cache_bytes,
    )
