"""The models of one inference service: found by name and version, loaded and unloaded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import structlog

from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.generation import RequestContext
from llmrouter.inference.backends.base import Backend, BackendOptions, Embedder
from llmrouter.inference.backends.cores import available_cores
from llmrouter.inference.models.changes import Changes
from llmrouter.inference.models.held import HeldModel
from llmrouter.inference.models.lifecycle import Lifecycle, ResidencyOptions
from llmrouter.inference.models.making_room import NoRoomError
from llmrouter.inference.models.opening import Facts, Opener, OpenModel
from llmrouter.inference.models.pressure import Pressure, admits, loads, relief_of
from llmrouter.inference.models.residency import ModelState
from llmrouter.inference.models.shelf import Shelf
from llmrouter.inference.models.text import ModelText
from llmrouter.inference.models.versions import VersionKey
from llmrouter.inference.text_pool import TextPool

__all__ = ["ModelRegistry"]

_log = structlog.get_logger("llmrouter.models")
_RELIEF_SECONDS = 5.0
"""When to come back to a service that is short of memory."""


class ModelRegistry:
    """Every version in the store, and what may be done with it. Used from one event loop.

    Args:
        store: The folder that holds model folders.
        backend: The class that runs them.
        options: How they are run.
        residency: How long they stay, and how much they may take.
        pinned: Names of models that never leave by themselves.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Path,
        backend: type[Backend],
        options: BackendOptions,
        *,
        residency: ResidencyOptions | None = None,
        pinned: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._pinned = clock, frozenset(pinned)
        self._leaving: dict[HeldModel, asyncio.Task[None]] = {}
        self._loads: set[asyncio.Task[HeldModel]] = set()
        self._busy: dict[VersionKey, asyncio.Lock] = {}
        self.shelf = Shelf(store)
        self.changes = Changes()
        self.pressure = Pressure.NONE
        """How short memory is: what requests are let in by."""
        self.begun = False
        """Whether `start` knows what is there and what is coming; before, nothing is to be told."""
        self._prefix_bytes = options.prefix_bytes
        self._opener = Opener(backend, options)
        self.lifecycle = Lifecycle(
            self._opener,
            residency or ResidencyOptions(),
            lambda: self.models,
            self.changes,
            clock,
            self._check_memory,
        )
        self.texts = TextPool(available_cores(), options.max_waiting)
        """Where prompts become tokens, for all models."""

    @property
    def models(self) -> list[HeldModel]:
        """Every version, in order of their names; those that were replaced come last."""
        return self.shelf.models

    @property
    def ready(self) -> bool:
        """Whether some model answers, or would once it is asked."""
        return any(one.accepting or one.obtainable for one in self.models)

    async def start(self, names: Sequence[str] | None = None, *, now: bool = True) -> None:
        """Take in the store, and offer `names` to requests; called once, at the start.

        Args:
            names: Models, each of which offers all of its versions, or single versions; None
                offers everything.
            now: Whether to load them, as far as they fit: of a model its `stable` version. The
                others wait for the first request.
        """
        await self.shelf.read_aliases()
        await self.shelf.scan(names or ())
        offered, first = self.shelf.offered(names)
        for model in offered:
            model.pinned = bool({str(model.key), model.key.name} & self._pinned)
            model.expected = True
        for model in first if now else ():
            model.state = ModelState.LOADING
        for model in () if now else offered:
            model.on_demand = True
        self.begun = True
        self.changes.tell()
        for model in first if now else ():
            # One that fails is kept as such, with its reason.
            with contextlib.suppress(RouterError):
                await self.lifecycle.load(model, evicting=False)
        await self.scan()
        for model in offered:
            model.on_demand, model.expected = True, False
        self.changes.tell()

    async def scan(self) -> None:
        """Take in what came into the store, and read what there is to know of it."""
        try:
            if await self.shelf.read_aliases():
                self.changes.tell()
        except RouterError as error:  # they stay where they were known to be
            _log.error("aliases cannot be read", why=error.message)
        await self.shelf.scan(busy=self.lifecycle.loading)
        for model in self.models:
            await self.lifecycle.describe(model)

    @contextlib.asynccontextmanager
    async def generator(
        self, name: str, version: str, who: RequestContext
    ) -> AsyncIterator[tuple[Facts, ModelText, Backend]]:
        """Use a model that generates, loaded for it where needed, for the length of the block.

        Raises:
            RouterError: UNKNOWN_MODEL; MODEL_UNAVAILABLE when it failed or is unloaded for good;
                MEMORY_PRESSURE; INVALID_ARGUMENT when it is an embedding model; as
                `Lifecycle.enter`.
        """
        async with self._using(name, version, who) as opened:
            if opened.backend is None or opened.text is None:
                raise invalid("model", f"'{name}' turns texts into vectors and does not generate")
            yield opened.facts, opened.text, opened.backend

    @contextlib.asynccontextmanager
    async def embedder(
        self, name: str, version: str, who: RequestContext
    ) -> AsyncIterator[tuple[Facts, Embedder]]:
        """Use an embedding model, loaded for it where needed, for the length of the block.

        Raises:
            RouterError: As `generator`; INVALID_ARGUMENT when it is a model that generates.
        """
        async with self._using(name, version, who) as opened:
            if opened.embedder is None:
                raise invalid("model", f"'{name}' generates and does not turn texts into vectors")
            yield opened.facts, opened.embedder

    async def load(
        self,
        name: str,
        version: str,
        *,
        pin: bool = False,
        aliases: Sequence[str] = (),
        begun: Callable[[HeldModel], None] = lambda _: None,
    ) -> HeldModel:
        """Load a version, then pin it and move aliases to it; requests may ask for it from then on.

        One whose folder has changed since it was loaded is loaded anew beside the old one, which
        serves until then, and goes on serving when that fails. Asked for by its fingerprint, only
        that is loaded, and stays where it is served. What was begun goes on when the caller is
        cancelled.

        Args:
            name: The model.
            version: As `Shelf.find`.
            pin: Whether it never leaves by itself.
            aliases: Moved to it once it is ready.
            begun: Told which model is loaded, before it is.

        Raises:
            RouterError: UNKNOWN_MODEL; INVALID_ARGUMENT for an alias; MODEL_UNAVAILABLE;
                MEMORY_PRESSURE.
        """
        await self.scan()
        found = self.shelf.find(name, version)
        contents = version if found.is_contents(version) else ""
        load = asyncio.create_task(self._load(found.key, contents, pin, aliases, begun))
        self._loads.add(load)
        load.add_done_callback(self._loads.discard)
        return await asyncio.shield(load)

    async def unload(self, name: str, version: str, patience: float | None = None) -> HeldModel:
        """Unload a version for good, once what runs on it has finished; see `Lifecycle.drain`.

        Asked for by its fingerprint, only that is unloaded.

        Raises:
            RouterError: UNKNOWN_MODEL, for a fingerprint that was replaced meanwhile too.
        """
        found = self.shelf.find(name, version)
        contents = version if found.is_contents(version) else ""
        async with self._busy.setdefault(found.key, asyncio.Lock()):
            model = self._meant(found, contents)
            await self.lifecycle.drain(model, patience)
        return model

    async def relieve(self, pressure: Pressure) -> None:
        """Take in how short memory is, and give up what may be given up."""
        if pressure != self.pressure:
            self.pressure = pressure
            self.changes.tell()
        relief = relief_of(pressure)
        if relief is None:
            return
        for model in self.models:
            if model.opened is not None and model.opened.backend is not None:
                model.opened.backend.forget_prefixes(int(self._prefix_bytes * relief.prefixes))
        # Whoever watches looks again soon: a load is no reason not to look meanwhile.
        await self.lifecycle.sweep(relief.idle_seconds, patient=False)

    async def close(self) -> None:
        """Close every backend."""
        self.changes.end()
        self.texts.close()
        loads, leaving = [*self._loads], [*self._leaving.values()]
        for load in loads:  # first: one that waits for its turn would begin once others have ended
            load.cancel()
        await self.lifecycle.close()
        for task in leaving:
            task.cancel()
        await asyncio.gather(*loads, *leaving, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def _using(
        self, name: str, version: str, who: RequestContext
    ) -> AsyncIterator[OpenModel]:
        if not admits(self.pressure, who.priority):
            message = f"memory is short; requests of priority {who.priority} wait until it is not"
            raise RouterError(Reason.MEMORY_PRESSURE, message, retry_after=_RELIEF_SECONDS)
        model = self.shelf.find(name, version)
        if not model.accepting:
            self._check_memory(model)
        contents = model.is_contents(version)
        opened = await self.lifecycle.enter(model, who.remaining())
        try:
            if contents and opened.facts.version != version:
                raise _replaced(model, version, opened.facts.version)
            yield opened
        finally:
            model.leave(self._clock())

    def _meant(self, found: HeldModel, contents: str) -> HeldModel:
        """Return the model to unload where a load may have put another in place of the `found` one.

        Whoever asked by a name means that other; whoever asked by a fingerprint, which `contents`
        is then, the one that leaves for it.
        """
        if contents and found in self.models and found.version.fingerprint == contents:
            return found
        model = self.shelf.at(found.key)
        if contents not in ("", model.version.fingerprint):
            raise _replaced(model, contents, model.version.fingerprint)
        return model

    def _check_memory(self, model: HeldModel) -> None:
        if not loads(self.pressure):
            message = f"memory is too short to load '{model.key}'"
            raise NoRoomError(Reason.MEMORY_PRESSURE, message, retry_after=_RELIEF_SECONDS)

    async def _load(
        self,
        key: VersionKey,
        contents: str,
        pin: bool,
        aliases: Sequence[str],
        begun: Callable[[HeldModel], None],
    ) -> HeldModel:
        """Load what `load` found; in a task of its own, so that the lock is held until the end."""
        async with self._busy.setdefault(key, asyncio.Lock()):
            self.shelf.check_aliases(key.name, aliases)
            model = await self._loaded(self.shelf.at(key), contents, begun)
            if contents not in ("", model.version.fingerprint):
                raise _replaced(model, contents, model.version.fingerprint)
            model.on_demand = True
            model.pinned = model.pinned or pin
            await self.shelf.move_aliases(key, aliases)
            self.changes.tell()
            return model

    async def _loaded(
        self, model: HeldModel, contents: str, begun: Callable[[HeldModel], None]
    ) -> HeldModel:
        """Load a version, in place of what was loaded from the same folder before it changed.

        Where `contents` is a fingerprint, nothing else is loaded.
        """
        if model.opened is not None and model.version.fingerprint == contents:
            facts = model.opened.facts
        else:
            facts = await self._opener.describe(model.path)
        if contents not in ("", facts.version):
            raise _replaced(model, contents, facts.version)
        if model.opened is None or facts.version != model.version.fingerprint:
            self._check_memory(model)
        if model.opened is None:
            model.facts = facts
        if model.opened is None or facts.version == model.version.fingerprint:
            begun(model)
            await self.lifecycle.load(model)
            return model
        fresh = HeldModel(model.key, model.path, model.installed, model.on_demand, model.pinned)
        begun(fresh)
        await self.lifecycle.load(fresh, beside=model, done=lambda: self._replace(model, fresh))
        return fresh

    def _replace(self, model: HeldModel, fresh: HeldModel) -> None:
        """Let `fresh` answer, and `model` leave once what runs on it has finished."""
        self.shelf.replace(model, fresh)
        leaving = self._leaving[model] = asyncio.create_task(self.lifecycle.drain(model))
        leaving.add_done_callback(lambda _: self._gone(model))

    def _gone(self, model: HeldModel) -> None:
        self._leaving.pop(model, None)
        self.shelf.drop(model)
        self.changes.tell()


def _replaced(model: HeldModel, version: str, now: str) -> RouterError:
    holds = now or "another"
    message = f"version {version} of '{model.key}' was replaced: its folder holds {holds} now"
    return RouterError(Reason.UNKNOWN_MODEL, message)
