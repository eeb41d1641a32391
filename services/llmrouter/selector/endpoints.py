"""What the inference services hold: every address is asked again and again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmrouter.selector.catalog import ServedModel
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1.inference_pb2_grpc import InferenceServiceStub

__all__ = ["EndpointWatcher"]

_MAX_MODELS = 1024
_PAUSE_SECONDS = 1.0
_log = logging.getLogger(__name__)


class EndpointWatcher:
    """Keeps the models of all inference services in view.

    What an address held that has been silent for two intervals is told as such until it answers
    again; so is a model that is being loaded where it served before. One task per address.
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
        """Return what the addresses hold, ready or not; of silent ones, what served there last."""
        oldest = self._clock() - 2 * self._interval
        return tuple(
            one if at >= oldest else replace(one, ready=False, silent=True)
            for at, models in self._seen.values()
            for one in models
            if at >= oldest or (one.version and not one.error)
        )

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
        """Return the seconds until the next look: short after failures, to see what comes back."""
        if failures == 1:
            return 0.0  # One late answer shall not take the models away: look again at once.
        return min(self._interval, _PAUSE_SECONDS) if failures else self._interval

    async def _look(self, address: str, failures: int) -> bool:
        """Ask once; True when it answered."""
        try:
            stub = InferenceServiceStub(self._channel(address))
            # Waiting for the connection: it may come back within the time of this look.
            answer = await stub.ListLoadedModels(
                pb.ListLoadedModelsRequest(),
                timeout=max(0.1, self._interval / 2),
                wait_for_ready=True,
            )
        except Exception as error:  # noqa: BLE001 - whatever an address does, the watch goes on
            if failures == 0:
                _log.warning("inference service %s does not answer: %s", address, _why(error))
            return False
        if failures:
            _log.info("inference service %s answers again", address)
        _, before = self._seen.get(address, (0.0, ()))
        known = {one.name: one for one in before if one.version}
        models = tuple(
            _remembered(_decode(model, address), known) for model in answer.models[:_MAX_MODELS]
        )
        self._seen[address] = (self._clock(), models)
        return True


def _remembered(model: ServedModel, known: Mapping[str, ServedModel]) -> ServedModel:
    """Return a model that is being loaded as what it was when it served here before."""
    before = known.get(model.name)
    if model.ready or model.error or before is None:
        return model
    return replace(before, ready=False, silent=False)


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
        tokenizer=model.tokenizer,
        longest_token_bytes=model.longest_token_bytes,
    )
