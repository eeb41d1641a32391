"""What the inference services hold: every address is followed, and asked where it cannot be."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from grpc import StatusCode, aio

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason
from llmrouter.common.wire import duration, seconds
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.selector.catalog import ServedModel
from llmrouter.selector.load_reports import ReportedLoad
from llmrouter.selector.placement import Node
from llmrouter.selector.statistics import Priors
from llmrouter.selector.wire_placement import MAX_MODELS, decode_node
from llmrouter.v1 import inference_pb2, model_pb2
from llmrouter.v1.model_pb2_grpc import ModelServiceStub

__all__ = ["EndpointWatcher"]

_PAUSE_SECONDS = 1.0
_log = logging.getLogger(__name__)

_Answer: TypeAlias = model_pb2.ModelServiceWatchResponse | model_pb2.ModelServiceListResponse


@dataclass(frozen=True, slots=True)
class _Heard:
    """The last that was heard of an address."""

    at: float
    served: tuple[ServedModel, ...]
    node: Node
    draining: bool = False
    """Whether it has said since that it shuts down."""


class EndpointWatcher:
    """Keeps the models of all inference services in view.

    Every address is followed by `Watch`, which tells changes as they happen; where that is not
    offered, it is asked again and again. What an address held that has been silent for two
    intervals is told as such until it is heard of again; so is a model that is being loaded where
    it served before. One that says that it shuts down drains, as a model does that is unloaded for
    good. One task per address.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        channel: Callable[[str], Any],
        *,
        interval: float = 1.0,
        returned: Callable[[str], None] = lambda address: None,
        told: Callable[[str, tuple[ServedModel, ...]], None] = lambda address, served: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the watch; nothing is dialled before `start`.

        Args:
            addresses: `host:port` of each inference service.
            channel: Gives the channel to an address (grpc.aio or in-process); its owner closes it.
            interval: Seconds between two messages of an address at most.
            returned: Told whenever an address answers again that did not.
            told: Told of all that an address holds, each time that it says so.
            clock: Seconds that silence is measured in, such as `Hearing.now`.
        """
        self._addresses = tuple(dict.fromkeys(addresses))
        self._channel = channel
        self._interval = interval
        self._returned, self._tell = returned, told
        self._clock = clock
        self._seen: dict[str, _Heard] = {}
        self._looked: dict[str, asyncio.Event] = {}
        self._failures: dict[str, int] = {}
        self._returns: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._told: tuple[ServedModel, ...] | None = None
        self._told_until = math.inf
        """Until then `_told` stays true if nobody says anything new."""

    def remember(self, held: Mapping[str, tuple[ServedModel, ...]]) -> None:
        """Begin with what addresses held before a restart: silent until they are heard of."""
        for address, served in held.items():
            if address in self._addresses and served:
                node = decode_node(model_pb2.ModelServiceListResponse(), address)
                self._seen.setdefault(address, _Heard(-math.inf, served, node))

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

    def take_load(self, address: str, loads: Mapping[tuple[str, str], ReportedLoad]) -> None:
        """Take in how busy what an address holds is: fresher than what was told of it before.

        It says nothing of whether the address is silent, nor of models that were not told.
        """
        heard = self._seen.get(address)
        if heard is None:
            return
        served = tuple(_loaded(one, loads.get((one.name, one.version))) for one in heard.served)
        if served != heard.served:
            self._seen[address] = replace(heard, served=served)
            self._told = None

    def heard(self) -> bool:
        """Whether some address has told what it holds, or there is none to tell."""
        told = any(one.at > -math.inf for one in self._seen.values())
        return told or not self._addresses

    def served(self) -> tuple[ServedModel, ...]:
        """Return what the addresses hold, ready or not; of silent ones, what served there last.

        The same tuple as before while nothing has changed: every choice asks for it.
        """
        if self._told is None or self._clock() > self._told_until:
            oldest = self._oldest()
            self._told = tuple(
                _now(one, heard, silent=heard.at < oldest)
                for heard in self._seen.values()
                for one in heard.served
                if heard.at >= oldest or (one.version and not one.error)
            )
            fresh = (heard.at for heard in self._seen.values() if heard.at >= oldest)
            self._told_until = min(fresh, default=math.inf) + 2 * self._interval
        return self._told

    def nodes(self) -> tuple[Node, ...]:
        """Return the addresses heard of lately: all that lies there, and how busy they are."""
        oldest = self._oldest()
        here = (one for one in self._seen.values() if one.at >= oldest and not one.draining)
        return tuple(one.node for one in here)

    def _oldest(self) -> float:
        return self._clock() - 2 * self._interval

    async def close(self) -> None:
        """Stop watching. Safe to call twice; the channels stay their owner's."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, address: str) -> None:
        told = self._followed
        while True:
            try:
                async with closing_stream(told(address)) as answers:
                    async for answer in answers:
                        self._take_in(address, answer)
            except Exception as error:  # noqa: BLE001 - whatever an address does, the watch goes on
                if told == self._followed and _unimplemented(error):
                    told = self._asked
                    continue
                told = self._followed
                self._fail(address, error)
            await asyncio.sleep(self._pause(self._failures.get(address, 0)))

    async def _followed(self, address: str) -> AsyncIterator[_Answer]:
        """Yield what an address holds as it tells it; silence is as good as a failure."""
        request = model_pb2.ModelServiceWatchRequest(interval=duration(self._interval))
        call = ModelServiceStub(self._channel(address)).Watch(request)
        answers = aiter(call)
        try:
            while True:
                yield await self._heard_in_time(anext(answers))
        except StopAsyncIteration:
            return
        finally:
            call.cancel()

    async def _heard_in_time(self, answer: Awaitable[_Answer]) -> _Answer:
        """Return an answer.

        Raises:
            TimeoutError: It has not come in `_patience` seconds of the clock.
        """
        until = self._clock() + self._patience
        task = asyncio.ensure_future(answer)
        try:
            while not task.done():
                left = until - self._clock()
                if left <= 0:
                    raise TimeoutError(f"nothing was heard for {self._patience:g} s")
                await asyncio.wait({task}, timeout=left)
            return task.result()
        finally:
            task.cancel()

    async def _asked(self, address: str) -> AsyncIterator[_Answer]:
        """Yield what an address holds, asked once every interval."""
        stub = ModelServiceStub(self._channel(address))
        while True:
            yield await stub.List(model_pb2.ModelServiceListRequest(), timeout=self._patience)
            await asyncio.sleep(self._interval)

    @property
    def _patience(self) -> float:
        """Seconds in which an answer has to come, lest its address count as silent."""
        return max(0.1, 1.5 * self._interval)

    def _take_in(self, address: str, answer: _Answer) -> None:
        if self._failures.pop(address, 0):
            _log.info("inference service %s answers again", address)
            self._returns[address] += 1
            self._returned(address)
        models = answer.models[:MAX_MODELS]
        before = self._seen.get(address)
        # What it held before a restart of this process may have been replaced meanwhile.
        held = before.served if before is not None and before.at > -math.inf else ()
        known = {one.name: one for one in held if one.version}
        served = tuple(_remembered(_decode(one, address), known) for one in models if _offered(one))
        if (
            before is None
            or before.draining
            or before.at < self._oldest()
            or before.served != served
        ):
            self._told = None
        node = decode_node(answer, address, self._returns[address])
        self._seen[address] = _Heard(self._clock(), served, node)
        self._looked[address].set()
        self._tell(address, served)

    def _fail(self, address: str, error: Exception) -> None:
        failures = self._failures[address] = self._failures.get(address, 0) + 1
        if failures == 1:
            _log.warning("inference service %s does not answer: %s", address, _why(error))
        if _drains(error) and address in self._seen:
            self._seen[address] = replace(self._seen[address], draining=True)
            self._told = None
        self._looked[address].set()

    def _pause(self, failures: int) -> float:
        """Return the seconds until the next look: short after failures, to see what comes back."""
        if failures == 1:
            return 0.0  # One late answer shall not take the models away: look again at once.
        return min(self._interval, _PAUSE_SECONDS) if failures else self._interval


def _now(model: ServedModel, heard: _Heard, *, silent: bool) -> ServedModel:
    """Return a model as it is to be seen, by when and how its address was heard of last."""
    if silent:
        return replace(model, ready=False, silent=True)
    return replace(model, draining=True) if heard.draining else model


def _loaded(model: ServedModel, load: ReportedLoad | None) -> ServedModel:
    """Return a model with the load that was reported of it."""
    if load is None:
        return model
    # Whoever asks for a model that has to be loaded waits for the load.
    waiting = load.waiting + model.on_demand
    if (load.running, waiting) == (model.running, model.waiting):
        return model
    return replace(model, running=load.running, waiting=waiting)


def _unimplemented(error: Exception) -> bool:
    return isinstance(error, aio.AioRpcError) and error.code() is StatusCode.UNIMPLEMENTED


def _drains(error: Exception) -> bool:
    if not isinstance(error, aio.AioRpcError):
        return False
    return from_rpc_error(error, "inference").reason is Reason.DRAINING


def _remembered(model: ServedModel, known: Mapping[str, ServedModel]) -> ServedModel:
    """Return a model that is being loaded as what it was when it served here before."""
    before = known.get(model.name)
    if model.version or model.ready or model.error or before is None:
        return model
    return replace(before, ready=False, silent=False)


def _why(error: Exception) -> str:
    details = getattr(error, "details", None)
    if callable(details):
        return str(details())
    if isinstance(error, TimeoutError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _offered(model: inference_pb2.LoadedModel) -> bool:
    """Whether a version is of any interest: not one that nobody is to ask for, or not any more."""
    return model.on_demand or model.state != inference_pb2.MODEL_STATE_UNLOADED


def _decode(model: inference_pb2.LoadedModel, address: str) -> ServedModel:
    quality = model.quality
    ratio = 1.0
    if quality.perplexity >= 1 and quality.reference_perplexity >= 1:
        ratio = min(1.0, quality.reference_perplexity / quality.perplexity)
    # One that is to come back takes requests all the while: they wait until it does.
    drains = model.state == inference_pb2.MODEL_STATE_DRAINING and not model.on_demand
    served = ServedModel(
        name=model.name,
        version=model.version,
        address=address,
        ready=drains or model.state == inference_pb2.MODEL_STATE_READY,
        on_demand=model.on_demand,
        names=frozenset((*model.aliases, *filter(None, (model.label,)))),
        error=model.error if model.state == inference_pb2.MODEL_STATE_FAILED else "",
        context=model.context,
        capabilities=frozenset(model.capabilities),
        quality_ratio=ratio,
        priors=Priors.measured(model.speed.prefill_rate, model.speed.decode_rate),
        slots=model.statistics.slots,
        tokenizer=model.tokenizer,
        longest_token_bytes=model.longest_token_bytes,
        step_seconds=seconds(model.statistics.step_time),
        cache_bytes=model.statistics.cache_bytes,
        draining=drains,
    )
    return _loaded(served, ReportedLoad(model.statistics.running, model.statistics.waiting))
