"""Brings models into memory and out of it: shared loads, drains, idle sweeps.

Who leaves is chosen in `residency.py`, for whom in `making_room.py`; here is when, and in which
order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.changes import Changes
from llmrouter.inference.models.held import HeldModel
from llmrouter.inference.models.making_room import SOON, NoRoomError, RoomMaker
from llmrouter.inference.models.opening import Facts, Opener, OpenModel, written_at
from llmrouter.inference.models.residency import ModelState, idle_since

__all__ = ["Lifecycle", "ResidencyOptions"]

_log = structlog.get_logger("llmrouter.models")
_ROOM_SECONDS = 60.0
"""How long a load waits for what runs on a model that is to make room; others wait behind it."""


@dataclass(frozen=True, slots=True)
class ResidencyOptions:
    """How long models stay and how much they may take together."""

    memory_bytes: int = 0
    """For all models together; 0 sets no bound."""
    idle_seconds: float = 600.0
    """A model that nobody has used for this long is unloaded; 0 keeps all."""
    notice_seconds: float = 2.0
    """How long a model that is to be unloaded takes requests planned before that was known."""
    drain_seconds: float = 600.0
    """How long running requests may finish before their model is unloaded."""
    load_seconds: float = 1800.0
    """How long a load may take; others wait behind it."""
    max_waiting: int = 256
    """Requests that may wait for a model to be loaded before QUEUE_FULL."""


class Lifecycle:
    """Loads and unloads; one at a time, since a load takes all cores and room is counted before it.

    Args:
        opener: Opens folders.
        options: Bounds.
        held: Gives every version there is.
        changes: Told of every change of a state.
        clock: Monotonic seconds.
        check_memory: Raises `NoRoomError` while memory is too short to load a model.
    """

    def __init__(
        self,
        opener: Opener,
        options: ResidencyOptions,
        held: Callable[[], Iterable[HeldModel]],
        changes: Changes,
        clock: Callable[[], float],
        check_memory: Callable[[HeldModel], None],
    ) -> None:
        self.options, self._check_memory = options, check_memory
        self._opener, self._held, self._changes, self._clock = opener, held, changes, clock
        self._room = RoomMaker(options.memory_bytes, held, self._leave)
        self._turn = asyncio.Lock()
        self._loads: dict[HeldModel, asyncio.Task[RouterError | None]] = {}

    async def enter(self, model: HeldModel, patience: float | None) -> OpenModel:
        """Begin to use a model, loaded for it where needed; ended by `HeldModel.leave`.

        Args:
            model: Which.
            patience: Seconds that may be waited; None for as long as the load takes.

        Raises:
            RouterError: MODEL_UNAVAILABLE when it failed or no request loads it; MEMORY_PRESSURE
                while others take the room; QUEUE_FULL; DEADLINE_EXCEEDED.
        """
        if model.accepting:
            return model.enter(self._clock())
        if model.state is ModelState.FAILED:
            raise RouterError(Reason.MODEL_UNAVAILABLE, model.error)
        if not model.on_demand:
            coming = model.expected or model.state is ModelState.LOADING
            raise _loading(model) if coming else _away(model)
        if model.waiting >= self.options.max_waiting:
            message = (
                f"{model.waiting} requests wait for '{model.key}' to be loaded, as many as may"
            )
            raise RouterError(Reason.QUEUE_FULL, message, retry_after=SOON)
        self._begin(model)
        try:
            async with asyncio.timeout(patience):
                return await model.wait()
        except TimeoutError:
            message = f"its deadline passed before '{model.key}' was loaded"
            raise RouterError(Reason.DEADLINE_EXCEEDED, message) from None

    async def load(
        self,
        model: HeldModel,
        *,
        beside: HeldModel | None = None,
        evicting: bool = True,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Load a model unless it is loaded; a load that is under way is shared.

        Args:
            model: Which.
            beside: A model that may not be unloaded for it.
            evicting: Whether others may be unloaded for it.
            done: Called once it is loaded by this call, before room is made for any other.

        Raises:
            RouterError: MODEL_UNAVAILABLE for what is wrong with it, or when there is no room.
        """
        task = self._begin(model, beside=beside, evicting=evicting, done=done)
        error = await asyncio.shield(task)
        if error is not None:
            raise error

    async def describe(self, model: HeldModel) -> None:
        """Read what there is to know of a model that is not loaded; a broken one is FAILED."""
        if model.facts is None and model.state is ModelState.UNLOADED:
            try:
                facts = await self._opener.describe(model.path)
            except RouterError as error:
                self._fail(model, error)
            else:
                model.facts = model.facts or facts  # what was loaded meanwhile knows better

    async def drain(self, model: HeldModel, patience: float | None = None) -> None:
        """Unload a model for good: no request loads it again.

        It takes the requests of those who have not heard of it for `notice_seconds`, then lets
        what runs finish for `patience` seconds (`drain_seconds` by default), then ends it.
        """
        model.on_demand = model.pinned = False
        if model in self._loads:
            await asyncio.wait({self._loads[model]})
        if model.opened is None:
            model.error = ""
            self._set(model, ModelState.UNLOADED)
            return
        model.announced = model.retiring = True
        self._set(model, ModelState.DRAINING)
        await asyncio.sleep(self.options.notice_seconds)
        model.announced = False
        if not await _idle(model, self.options.drain_seconds if patience is None else patience):
            _log.warning("running requests are cut", model=str(model.key), requests=model.users)
        async with self._turn:
            await self._shut(model)
        model.retiring = False

    async def sweep(self, idle_seconds: float, *, patient: bool = True) -> None:
        """Unload what nobody has used for so long; requests load it again.

        Args:
            idle_seconds: How long.
            patient: Whether to wait for a load that is under way; otherwise it ends there.
        """
        for model in self._idle_models(idle_seconds):
            if not patient and self._turn.locked():
                return
            async with self._turn:
                # While this waited for its turn, somebody may have come.
                if model in self._idle_models(idle_seconds):
                    await self._leave(model)

    @property
    def loading(self) -> frozenset[HeldModel]:
        """Those that are being loaded, or wait for their turn."""
        return frozenset(self._loads)

    @property
    def memory(self) -> int:
        """Bytes that all loaded models count for together."""
        return self._room.used

    async def close(self) -> None:
        """End loads under way and close every model."""
        models = list(self._held())
        for task in self._loads.values():
            task.cancel()
        await asyncio.gather(*self._loads.values(), return_exceptions=True)
        for model in models:
            model.refuse_waiters(_away(model))
            if model.opened is not None:
                await model.opened.engine.close()

    def _begin(
        self,
        model: HeldModel,
        *,
        beside: HeldModel | None = None,
        evicting: bool = True,
        done: Callable[[], None] = lambda: None,
    ) -> asyncio.Task[RouterError | None]:
        task = self._loads.get(model)
        if task is None or task.done():
            load = self._load(model, beside=beside, evicting=evicting, done=done)
            task = self._loads[model] = asyncio.create_task(load)
            task.add_done_callback(lambda ended: self._forget(model, ended))
        return task

    def _forget(self, model: HeldModel, ended: asyncio.Task[RouterError | None]) -> None:
        if self._loads.get(model) is ended:
            del self._loads[model]

    async def _load(
        self,
        model: HeldModel,
        *,
        beside: HeldModel | None,
        evicting: bool,
        done: Callable[[], None],
    ) -> RouterError | None:
        """Return what went wrong: whoever waits for it is told by then."""
        async with self._turn:
            if model.opened is not None:
                return None
            try:
                self._check_memory(model)  # it may have become short while this load waited
                facts = model.facts = await self._known(model)
                await self._room.make(model, facts.memory, beside=beside, evicting=evicting)
                self._set(model, ModelState.LOADING)
                opened = await self._open(model)
            except RouterError as error:
                return self._fail(model, error)
            except Exception as error:  # noqa: BLE001 - nobody may wait for it in vain
                _log.exception("a load broke off", model=str(model.key))
                message = f"'{model.key}' could not be loaded ({type(error).__name__})"
                return self._fail(model, RouterError(Reason.MODEL_UNAVAILABLE, message))
            model.become_ready(opened, self._clock())
            done()
            self._changes.tell()
            _log.info("model loaded", model=str(model.key), version=opened.facts.version)
            return None

    async def _known(self, model: HeldModel) -> Facts:
        """Return what there is to know of its folder, read again where that was replaced."""
        written = await asyncio.to_thread(written_at, model.path)
        if model.facts is not None and model.facts.written == written:
            return model.facts
        return await self._opener.describe(model.path)

    async def _open(self, model: HeldModel) -> OpenModel:
        """Open its folder; one that takes too long is given up, and what it opens is dropped."""
        seconds = self.options.load_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._opener.open(model.path)
        except TimeoutError:
            message = f"'{model.key}' was not loaded within {seconds:g} s; import it again"
            raise RouterError(Reason.MODEL_UNAVAILABLE, message) from None

    async def _leave(self, model: HeldModel) -> bool:
        """Unload a model for now; False when what runs on it has not finished in time."""
        self._set(model, ModelState.DRAINING)
        if not await _idle(model, min(self.options.drain_seconds, _ROOM_SECONDS)):
            if model.opened is not None and not model.retiring:
                model.become_ready(model.opened, self._clock())
            self._changes.tell()
            return False
        await self._shut(model)
        return True

    async def _shut(self, model: HeldModel) -> None:
        opened, model.opened = model.opened, None
        try:
            if opened is not None:
                await opened.engine.close()
        except Exception:  # noqa: BLE001 - it is gone all the same
            _log.exception("a model did not end in order", model=str(model.key))
        self._set(model, ModelState.UNLOADED)
        _log.info("model unloaded", model=str(model.key))
        if model.stale:
            model.forget()
            if model.on_demand:  # nobody may look at the store before it is asked for
                await self.describe(model)
        if model.waiting and model.on_demand:
            self._begin(model)
        else:
            model.refuse_waiters(_away(model))

    def _fail(self, model: HeldModel, error: RouterError) -> RouterError:
        """Take in why a model was not loaded; one that had no room may be asked for again."""
        # Callers hear of it too, whom the folders of this machine do not concern.
        told = error.message.replace(f"{model.path.parent}{os.sep}", "")
        known = RouterError(error.reason, told, retry_after=error.retry_after)
        no_room = isinstance(error, NoRoomError)
        log = _log.warning if no_room else _log.error
        log("model not loaded", model=str(model.key), why=error.message)
        model.error = "" if no_room else told
        self._set(model, ModelState.UNLOADED if no_room else ModelState.FAILED)
        model.refuse_waiters(known)
        return known

    def _idle_models(self, seconds: float) -> list[HeldModel]:
        ready = {one.key: one for one in self._ready()}
        residents = (one.resident for one in ready.values())
        return [ready[key] for key in idle_since(residents, self._clock() - seconds)]

    def _ready(self) -> list[HeldModel]:
        return [one for one in self._held() if one.state is ModelState.READY]

    def _set(self, model: HeldModel, state: ModelState) -> None:
        model.state = state
        self._changes.tell()


async def _idle(model: HeldModel, patience: float) -> bool:
    """Wait until nobody uses a model; False when somebody still does after `patience` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            await model.idle.wait()
    return not model.users


def _loading(model: HeldModel) -> RouterError:
    message = f"model '{model.key}' is still loading"
    return RouterError(Reason.MODEL_UNAVAILABLE, message, retry_after=SOON)


def _away(model: HeldModel) -> RouterError:
    return RouterError(
        Reason.MODEL_UNAVAILABLE,
        f"'{model.key}' is not loaded, and no request loads it; see `llmrouter models load`",
    )
