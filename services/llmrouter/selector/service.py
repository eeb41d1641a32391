"""Composes the selector from its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import RouterError
from llmrouter.common.hosting import Service
from llmrouter.common.standalone import Program
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.selector.endpoints import EndpointWatcher
from llmrouter.selector.hearing import Hearing
from llmrouter.selector.load_reports import LoadListener
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.observing import SelectionObserver
from llmrouter.selector.passing_on import SharedOutcomes
from llmrouter.selector.placing import PlacementController
from llmrouter.selector.readings import readings
from llmrouter.selector.scale_watch import ScaleWatch
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.state_store import SqliteState, StateStore
from llmrouter.v1.selector_pb2_grpc import add_SelectorServiceServicer_to_server

if TYPE_CHECKING:
    from llmrouter.selector.redis_state import RedisState

__all__ = ["PROGRAM", "build"]


async def build(
    settings: SelectorSettings, dialler: Dialler, data: Path, telemetry: Telemetry = SILENT
) -> Service:
    """Return the service; it watches the inference services through `dialler` once started.

    Raises:
        RouterError: UNKNOWN_STRATEGY when the default strategy is, naming the setting.
    """

    def returned(address: str) -> None:
        selector.breakers.returned(address, selector.clock())

    every = settings.refresh_interval_seconds
    hearing = Hearing(every / 4)
    addresses, dial = settings.inference_addresses, dialler.channel
    watcher = EndpointWatcher(addresses, dial, interval=every, returned=returned, clock=hearing.now)
    listener = LoadListener(addresses, dial, watcher.take_load, settings.load_report_seconds)
    store, shared = _stores(settings, data)
    selector = _selector(settings, watcher, store)
    outcomes = SharedOutcomes(selector, store.tell)
    servicer = SelectorServicer(selector, SelectionObserver(telemetry.meter), outcomes.report)
    placement = PlacementController(watcher.nodes, dial, settings.placement)
    scaling = ScaleWatch(watcher.nodes, settings.scaling)

    async def start() -> None:
        documents = await store.load()
        selector.restore(documents)
        if shared is not None:
            await shared.follow(outcomes.take, documents)
        hearing.start()
        await watcher.start()
        listener.start()
        placement.start()
        scaling.start()

    async def close() -> None:
        hearing.close()
        for one in (scaling, placement, listener, watcher, selector.teacher, store):
            await one.close()

    return Service(
        name="selector",
        grpc_name="llmrouter.v1.SelectorService",
        register=lambda server: add_SelectorServiceServicer_to_server(servicer, server),
        host=settings.host, port=settings.port, listening=settings,
        start=start,
        close=close,
        readings=lambda: readings(selector, scaling),
        drain_grace_seconds=settings.drain_grace_seconds,
    )  # fmt: skip


def _stores(
    settings: SelectorSettings, data: Path
) -> tuple[SqliteState | RedisState, RedisState | None]:
    """Return where state is kept, and the part of it that is shared with other selectors."""
    local = SqliteState(settings.state_path or data / "selector.sqlite")
    if settings.redis is None:
        return local, None
    from llmrouter.selector.redis_state import RedisState

    shared = RedisState(settings.redis, local)
    return shared, shared


def _selector(
    settings: SelectorSettings, watcher: EndpointWatcher, store: StateStore
) -> ModelSelector:
    try:
        return ModelSelector(settings, watcher.served, heard=watcher.heard, store=store)
    except RouterError as error:
        message = f"selector.default_strategy: {error.message}"
        raise RouterError(error.reason, message) from error


PROGRAM = Program("selector", SelectorSettings, build)
