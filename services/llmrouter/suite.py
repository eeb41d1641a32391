"""The suite composed: one service, or all four in one process.

The only module that knows every service. In one process the services call each other through
`InProcessChannel`, so that nothing is serialised between them, and each still listens on its port.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmrouter.cache import service as cache_service
from llmrouter.cache.settings import CacheSettings
from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import RouterError
from llmrouter.common.hosting import Hosted, Service
from llmrouter.common.server import until_signalled
from llmrouter.common.settings import (
    SERVICES,
    ConfigError,
    Section,
    data_directory,
    load_config,
    parse,
)
from llmrouter.common.standalone import configure_process, run_program
from llmrouter.common.telemetry.settings import TelemetrySettings
from llmrouter.common.telemetry.telemetry import Telemetry
from llmrouter.gateway import service as gateway_service
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.inference import service as inference_service
from llmrouter.inference.settings import InferenceSettings
from llmrouter.selector import service as selector_service
from llmrouter.selector.settings import SelectorSettings

__all__ = ["Router", "RunningSuite", "SuiteSettings", "load_settings", "run_service", "run_up",
           "running"]  # fmt: skip


class SuiteSettings(Section):
    """The whole configuration, one section per service."""

    gateway: GatewaySettings = GatewaySettings()
    selector: SelectorSettings = SelectorSettings()
    cache: CacheSettings = CacheSettings()
    inference: InferenceSettings = InferenceSettings()
    telemetry: TelemetrySettings = TelemetrySettings()


@dataclass(frozen=True, slots=True)
class RunningSuite:
    """Where the services of a running suite listen, `host:port` each."""

    gateway: str
    selector: str
    cache: str
    inference: str
    serving: bool
    """Whether a model was ready to answer when all had started."""
    http: str = ""
    """The gateway's HTTP API; empty where it is turned off."""


class Router:
    """The whole suite inside a Python program.

    Args:
        settings: The configuration; the addresses of the services among themselves are overridden.
        data: Where models and answers are kept unless the settings say otherwise.
    """

    def __init__(self, settings: SuiteSettings, data: Path) -> None:
        self._settings, self._data = settings, data
        self._telemetry = Telemetry.open(settings.telemetry, "up")
        self._dialler = Dialler(around=self._telemetry.channel)
        self._hosted: list[Hosted] = []

    async def start(self) -> RunningSuite:
        """Bind every port, then start the services from the engine outwards.

        Raises:
            ConfigError: A port is in use, or a name in the configuration is unknown.
        """
        settings, beside = self._settings, (self._dialler, self._data, self._telemetry)
        try:
            self._telemetry.start()
            inference = await self._host(inference_service.build(settings.inference, *beside))
            watched = settings.selector.model_copy(
                update={"inference_addresses": (inference.address,)}
            )
            selector = await self._host(selector_service.build(watched, *beside))
            cache = await self._host(cache_service.build(settings.cache, *beside))
            around = settings.gateway.model_copy(
                update={"selector_address": selector.address, "cache_address": cache.address}
            )
            gateway = await self._host(gateway_service.build(around, *beside))
            for hosted in (inference, selector, cache, gateway):
                await hosted.start()
        except RouterError as error:
            await self.stop(grace=0)
            raise ConfigError(error.message) from None
        except BaseException:
            await self.stop(grace=0)
            raise
        return RunningSuite(
            gateway=gateway.address,
            selector=selector.address,
            cache=cache.address,
            inference=inference.address,
            http=gateway.door_address,
            serving=inference.service.ready(),
        )

    async def stop(self, grace: float | None = None) -> None:
        """Drain from the gateway inwards, so that running streams keep what they need."""
        for hosted in reversed(self._hosted):
            await hosted.stop(grace)
        self._hosted.clear()
        await self._dialler.close()
        await self._telemetry.close()

    async def _host(self, building: Awaitable[Service]) -> Hosted:
        hosted = Hosted(await building, self._telemetry)
        self._hosted.append(hosted)
        self._dialler.add_local(await hosted.bind(), hosted.channel)
        return hosted


def load_settings(config: Path | None) -> SuiteSettings:
    """Read the configuration: file, overlay, variables.

    Raises:
        ConfigError: Naming what is wrong.
    """
    given = load_config(config)
    return parse(SuiteSettings, given, "", files=given.files)


@contextlib.asynccontextmanager
async def running(
    config: Path | None = None,
    *,
    ports: Literal["configured", "free"] = "configured",
    store: Path | None = None,
) -> AsyncIterator[RunningSuite]:
    """Run the whole suite for the length of a `with` block.

    Args:
        config: The YAML file.
        ports: `free` takes ports nobody uses instead of the configured ones.
        store: Folder of model folders, instead of the configured one.
    """
    settings = load_settings(config)
    if ports == "free":
        settings = _with_free_ports(settings)
    if store is not None:
        inference = settings.inference.model_copy(update={"store": store})
        settings = settings.model_copy(update={"inference": inference})
    router = Router(settings, data_directory())
    addresses = await router.start()
    try:
        yield addresses
    finally:
        await router.stop()


async def run_up(config: Path | None, ready: Callable[[RunningSuite], None]) -> None:
    """Run all four services in this process until SIGTERM or SIGINT, then drain.

    Args:
        config: The YAML file.
        ready: Told once, where the services listen.

    Raises:
        ConfigError: The configuration is wrong or a port is in use.
    """
    configure_process()
    await until_signalled(_told(config, ready))


@contextlib.asynccontextmanager
async def _told(config: Path | None, ready: Callable[[RunningSuite], None]) -> AsyncIterator[None]:
    async with running(config) as addresses:
        ready(addresses)
        yield


async def run_service(name: str, config: Path | None) -> None:
    """Run one service until SIGTERM or SIGINT, then drain.

    Raises:
        ConfigError: The name or the configuration is wrong, or the port is in use.
    """
    configure_process()
    match name:
        case "inference":
            await run_program(inference_service.PROGRAM, config)
        case "selector":
            await run_program(selector_service.PROGRAM, config)
        case "cache":
            await run_program(cache_service.PROGRAM, config)
        case "gateway":
            await run_program(gateway_service.PROGRAM, config)
        case _:
            raise ConfigError(f"'{name}' is no service; there are {', '.join(SERVICES)}")


def _with_free_ports(settings: SuiteSettings) -> SuiteSettings:
    sections = {name: getattr(settings, name) for name in SERVICES}
    free = {name: section.model_copy(update={"port": 0}) for name, section in sections.items()}
    free["gateway"] = free["gateway"].model_copy(update={"http_port": 0})
    page = settings.telemetry.prometheus.model_copy(update={"port": 0})
    telemetry = settings.telemetry.model_copy(update={"prometheus": page})
    return settings.model_copy(update={**free, "telemetry": telemetry})
