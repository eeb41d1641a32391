"""A service as a program of its own: settings from file and environment, hosted until signalled."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import RouterError
from llmrouter.common.hosting import Service, run_until_signalled
from llmrouter.common.listening import Dialling
from llmrouter.common.logs import configure_logs
from llmrouter.common.settings import (
    ConfigError,
    SectionT,
    data_directory,
    load_config,
    parse,
)
from llmrouter.common.telemetry.settings import TelemetrySettings
from llmrouter.common.telemetry.telemetry import Telemetry

__all__ = ["Program", "configure_process", "main", "run_program"]

_COLLECTED = (10_000, 20, 20)
"""Objects by which the youngest generation grows before it is looked at; rounds of the elder."""


@dataclass(frozen=True, slots=True)
class Program(Generic[SectionT]):
    """One service as a program."""

    name: str
    """Its name, and that of its section."""
    settings: type[SectionT]
    build: Callable[[SectionT, Dialler, Path, Telemetry], Awaitable[Service]]
    """Composes the service from settings, dialler, data directory and telemetry."""


def configure_process() -> None:
    """Set up what belongs to the process: its logs, file descriptors and collector of garbage.

    Logs are JSON unless the environment is development. Every connection needs a descriptor; what
    shells leave to a process, often 1,024, is for programs that wait by `select`. The collector
    looks for cycles less often than by default: requests leave few, and it took a fifth of the
    gateway's time; and never again at what was loaded until now, which a look at everything stopped
    the event loop for by 0.1 s.
    """
    gc.set_threshold(*_COLLECTED)
    gc.freeze()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems have a lower limit of their own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    configure_logs(json=os.environ.get("LLMROUTER_ENV", "development") != "development")


async def run_program(program: Program[SectionT], config: Path | None) -> None:
    """Run one service until SIGTERM or SIGINT, then drain.

    Raises:
        ConfigError: The configuration is wrong or the port is in use.
    """
    data = load_config(config)
    settings = parse(program.settings, data.get(program.name), program.name, files=data.files)
    told = parse(TelemetrySettings, data.get("telemetry"), "telemetry", files=data.files)
    telemetry = Telemetry.open(told, program.name)
    dials = settings.dial_tls if isinstance(settings, Dialling) else None
    dialler = Dialler(None, dials, f"{program.name}.dial_tls", telemetry.channel)
    try:
        telemetry.start()
        service = await program.build(settings, dialler, data_directory(), telemetry)
        await run_until_signalled(service, telemetry)
    except RouterError as error:
        raise ConfigError(error.message) from None
    finally:
        await dialler.close()
        await telemetry.close()


def main(program: Program[SectionT]) -> None:
    """Be `python -m llmrouter.<name>`: exit 1 with one sentence when it cannot run."""
    parser = argparse.ArgumentParser(prog=f"llmrouter {program.name}")
    parser.add_argument("--config", type=Path, help="YAML file with the configuration")
    arguments = parser.parse_args()
    configure_process()
    try:
        asyncio.run(run_program(program, arguments.config))
    except ConfigError as error:
        sys.exit(f"error: {error}")
