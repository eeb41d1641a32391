"""Composes the selector from its settings."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import RouterError
from llmrouter.common.hosting import Service
from llmrouter.common.standalone import Program
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.selector.catalog import ServedModel
from llmrouter.selector.decision_file import DecisionFile
from llmrouter.selector.endpoints import EndpointWatcher
from llmrouter.selector.hearing import Hearing
from llmrouter.selector.load_reports import LoadListener
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.observing import SelectionObserver
from llmrouter.selector.passing_on import SharedOutcomes
from llmrouter.selector.placing import KIND as PLACED
from llmrouter.selector.placing import PlacementController
from llmrouter.selector.readings import readings
from llmrouter.selector.remembering import KIND, ServedMemory
from llmrouter.selector.scale_watch import ScaleWatch
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.state_store import SqliteState, StateStore
from llmrouter.v1.selector_pb2_grpc import add_SelectorServiceServicer_to_server

if TYPE_CHECKING:
    from llmrouter.selector.redis_state import RedisState, Told

__all__ = ["PROGRAM", "build", "name_of"]


async def build(
    settings: SelectorSettings, dialler: Dialler, data: Path, telemetry: Telemetry = SILENT
) -> Service:
    """Return the service; it watches the inference services through `dialler` once started.

    Raises:
        RouterError: UNKNOWN_STRATEGY when the default strategy is, naming the setting.
    """

    def returned(address: str) -> None:
        selector.breakers.returned(address, selector.clock())

    hearing = Hearing(settings.refresh_interval_seconds / 4)
    store, shared, places = _stores(settings, data)
    memory, dial = ServedMemory(settings.inference_addresses, store), dialler.channel
    watcher, listener = _watching(settings, dial, hearing.now, memory.told, returned)
    selector = _selector(settings, watcher, store)
    outcomes = SharedOutcomes(selector, store.tell)
    past = DecisionFile(settings.decisions_file(data), settings.decisions, selector.past)
    observer = SelectionObserver(telemetry.meter)
    servicer = SelectorServicer(selector, observer, outcomes.report, past.find, name_of(settings))
    placement = PlacementController(watcher.nodes, dial, settings.placement, places, store=store)
    scaling = ScaleWatch(watcher.nodes, settings.scaling)

    async def start() -> None:
        documents = await store.load()
        selector.restore(documents)
        placement.restore(documents)
        watcher.remember(memory.restore(documents.get(KIND, {})))
        if shared is not None:
            await shared.follow(_heard_by(outcomes, placement), documents)
        hearing.start()
        await watcher.start()
        for one in (listener, placement, scaling, past):
            one.start()

    async def close() -> None:
        hearing.close()
        for one in (scaling, placement, listener, watcher, past, selector.teacher, store):
            await one.close()

    return Service(
        name="selector",
        grpc_name="llmrouter.v1.SelectorService",
        register=lambda server: add_SelectorServiceServicer_to_server(servicer, server),
        host=settings.host, port=settings.port, listening=settings,
        start=start, close=close,
        readings=lambda: readings(selector, scaling),
        drain_grace_seconds=settings.drain_grace_seconds,
    )  # fmt: skip


def name_of(settings: SelectorSettings) -> str:
    """Return what tells this selector from others; the same after a restart."""
    place = f"{socket.gethostname()}:{settings.port}"
    return hashlib.blake2b(place.encode(), digest_size=16).hexdigest()


def _stores(
    settings: SelectorSettings, data: Path
) -> tuple[SqliteState | RedisState, RedisState | None, Callable[[], bool]]:
    """Return where state is kept, the part of it that other selectors share, and who places.

    The last says whether it is this selector that places models; alone it always is.
    """
    local = SqliteState(settings.state_file(data))
    if settings.redis is None:
        return local, None, lambda: True
    from llmrouter.selector.redis_lease import RedisLease
    from llmrouter.selector.redis_state import RedisState

    lease = RedisLease(f"{settings.redis.prefix}:selector:placement")
    wanted = lease if settings.placement.mode == "on" else None
    shared = RedisState(settings.redis, local, lease=wanted)
    return shared, shared, lease.held


def _heard_by(outcomes: SharedOutcomes, placement: PlacementController) -> Told:
    """Return what takes in what other selectors tell."""

    def take(kind: str, key: str, data: Mapping[str, Any] | None) -> None:
        if kind == PLACED:
            placement.take(key, data)
        else:
            outcomes.take(kind, key, data)

    return take


def _watching(
    settings: SelectorSettings,
    dial: Callable[[str], Any],
    clock: Callable[[], float],
    told: Callable[[str, tuple[ServedModel, ...]], None],
    returned: Callable[[str], None],
) -> tuple[EndpointWatcher, LoadListener]:
    """Return what follows the inference services."""
    addresses, every = settings.inference_addresses, settings.refresh_interval_seconds
    watcher = EndpointWatcher(
        addresses, dial, interval=every, returned=returned, told=told, clock=clock
    )
    return watcher, LoadListener(addresses, dial, watcher.take_load, settings.load_report_seconds)


def _selector(
    settings: SelectorSettings, watcher: EndpointWatcher, store: StateStore
) -> ModelSelector:
    try:
        return ModelSelector(settings, watcher.served, heard=watcher.heard, store=store)
    except RouterError as error:
        message = f"selector.default_strategy: {error.message}"
        raise RouterError(error.reason, message) from error


PROGRAM = Program("selector", SelectorSettings, build)
