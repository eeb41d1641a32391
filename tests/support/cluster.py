"""The services as hosts of a network: each a program in a namespace of its own, Redis too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder
from tests.support.names import NameServer
from tests.support.namespaces import Host, Network, why_not
from tests.support.paced.llmrouter_paced import PACE_FILE, Pace
from tests.support.redis_server import PROGRAM

from llmrouter.v1 import selector_pb2
from llmrouter.v1.selector_pb2_grpc import SelectorServiceStub
from llmrouter_client import AsyncClient

__all__ = ["DOMAIN", "MODEL", "Cluster", "Member", "Shape", "why_no_cluster"]

MODEL = "paced"
PORTS = {"gateway": 50051, "selector": 50052, "cache": 50053, "inference": 50054, "redis": 6379}
DOMAIN = "llm.svc.cluster.local"
"""What the names of the members end with that have some."""
START_SECONDS = 120
"""Eight are usual for ten hosts; on a busy machine it takes a minute."""
_STOP_SECONDS = 60
_PACED = Path(__file__).parent / "paced"


def why_no_cluster() -> str:
    """Return why this machine can have no cluster; empty where it can."""
    if PROGRAM is None:
        return "there is neither valkey-server nor redis-server on this machine"
    return why_not()


@dataclass(frozen=True)
class Shape:
    """How many of what there are, and how they are set up."""

    gateways: int = 1
    selectors: int = 1
    caches: int = 1
    engines: int = 2
    redis: bool = False
    """Whether selectors and caches share a Redis; else each has its own state."""
    names: bool = False
    """Whether they find each other by a name server, as pods do by headless Services."""
    slots: int = 16
    pace: Pace = field(default_factory=Pace)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """More settings by section."""

    def count(self, role: str) -> int:
        """Return how many hosts of a role there are."""
        many = {"gateway": self.gateways, "selector": self.selectors, "cache": self.caches}
        return int(self.redis) if role == "redis" else many.get(role, self.engines)


class Member:
    """A host and its program, which may be killed and started again."""

    def __init__(self, role: str, host: Host, command: list[str], folder: Path) -> None:
        self.role, self.host = role, host
        self._command, self._folder = command, folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def address(self) -> str:
        return f"{self.host.address}:{PORTS[self.role]}"

    @property
    def log(self) -> Path:
        return self._folder / "log"

    @property
    def runs(self) -> bool:
        """Whether its program does."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the program; see `ready`."""
        path = os.pathsep.join(filter(None, (str(_PACED), os.environ.get("PYTHONPATH"))))
        environment = {"XDG_DATA_HOME": str(self._folder), "PYTHONPATH": path}
        self._process = self.host.start(self._command, self.log, environment)

    def kill(self) -> None:
        """End it as a fault of the machine would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)

    async def stop(self) -> int:
        """End it as an operator would, after what runs; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_STOP_SECONDS):
            while (code := self._process.poll()) is None:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.05)
        return code

    async def ready(self) -> None:
        """Return once it serves.

        Raises:
            RuntimeError: It ended, with the last of what it said.
            TimeoutError: It does not become ready.
        """
        async with asyncio.timeout(START_SECONDS):
            while not await self._serves():
                if self._process is None or self._process.poll() is not None:
                    raise RuntimeError(f"{self.name} has ended: {self.log.read_text()[-2000:]}")
                await asyncio.sleep(0.1)

    async def _serves(self) -> bool:
        if self.role == "redis":
            return await _answers_ping(self.host.address)
        async with grpc.aio.insecure_channel(self.address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=2
            )
            with contextlib.suppress(grpc.aio.AioRpcError):
                return bool((await check).status == health_pb2.HealthCheckResponse.SERVING)
        return False


class Cluster:
    """Members by name, `gateway-0` and so on. Use it with `async with`; it yields once it answers.

    Every gateway asks all selectors, and a cache of its own as far as there are enough.
    """

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.members: dict[str, Member] = {}
        self.network = Network()
        self.names = NameServer(self.network.address)
        self._hosts: dict[str, list[Host]] = {}
        self._folder = folder
        self._closing = contextlib.ExitStack()

    async def __aenter__(self) -> Self:
        self._closing.enter_context(self.network)
        try:
            if self.shape.names:
                self._closing.enter_context(self.names)
            self._write_model()
            self._hosts |= {
                role: [self.network.host(f"{role}-{one}") for one in range(self.shape.count(role))]
                for role in PORTS
            }
            for role, some in self._hosts.items():
                for number in range(len(some)):
                    self.members[f"{role}-{number}"] = self._member(role, number)
            self._tell_names()
            for member in self.members.values():
                member.start()
            await asyncio.gather(*(member.ready() for member in self.members.values()))
            await self._answers()
        except BaseException:
            self._closing.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing.close()

    async def replace(self, name: str, *, gently: bool) -> None:
        """Put another host in the place of a member, as a pod is replaced: at another address.

        Its name stands for nothing from the moment that it ends until the new one serves.

        Args:
            name: Of the member, such as `gateway-0`.
            gently: Whether its program may end what runs; else its host is lost.
        """
        lost = self.members[name]
        role, number = lost.role, int(name.rpartition("-")[2])
        self._tell_names(without=lost)
        if gently:
            await lost.stop()
        else:
            lost.kill()
        lost.host.unplug()
        self._hosts[role][number] = self.network.host(f"{name}-{len(self.network.hosts)}")
        made = self.members[name] = self._member(role, number)
        made.start()
        await made.ready()
        self._tell_names()

    def named(self, role: str) -> str:
        """Return the `host:port` that stands for all members of a role."""
        return f"{role}.{DOMAIN}:{PORTS[role]}"

    def all(self, role: str) -> list[Member]:
        """Return the members of a role."""
        return [one for one in self.members.values() if one.role == role]

    def client(self, **options: Any) -> AsyncClient:
        """Return a client of all gateways."""
        return AsyncClient([one.address for one in self.all("gateway")], **options)

    async def knows_all_engines(self) -> None:
        """Return once every selector plans with every engine."""
        await self.knows_engines(self.shape.engines)

    async def knows_engines(self, count: int) -> None:
        """Return once every selector plans with so many engines, and no more."""
        for selector in self.all("selector"):
            async with asyncio.timeout(START_SECONDS):
                while len(await _known_to(selector)) != count:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    def _write_model(self) -> None:
        folder = self._folder / "models" / MODEL
        folder.mkdir(parents=True, exist_ok=True)
        write_tiny_folder(folder, TinyShape(context=1 << 15))
        (folder / PACE_FILE).write_text(json.dumps(asdict(self.shape.pace)))

    def _tell_names(self, without: Member | None = None) -> None:
        for role in PORTS:
            there = [one for one in self.all(role) if one is not without]
            self.names.tell(f"{role}.{DOMAIN}", [one.host.address for one in there])
        for number, one in enumerate(self.all("inference")):
            addresses = [] if one is without else [one.host.address]
            self.names.tell(f"inference-{number}.inference.{DOMAIN}", addresses)

    def _member(self, role: str, number: int) -> Member:
        host = self._hosts[role][number]
        if self.shape.names:
            host.asks(self.names.address, DOMAIN)
        else:
            host.knows(
                {name: [one.address for one in some] for name, some in self._hosts.items() if some}
            )
        folder = self._folder / host.name
        folder.mkdir(parents=True, exist_ok=True)
        if role == "redis":
            options = {"bind": host.address, "protected-mode": "no", "dir": folder, "save": ""}
            words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            return Member(role, host, [PROGRAM or "", *words, "--appendonly", "yes"], folder)
        config = folder / "llmrouter.yaml"
        config.write_text(json.dumps(self._settings(role, number)))  # JSON is YAML
        command = [sys.executable, "-m", f"llmrouter.{role}", "--config", str(config)]
        return Member(role, host, command, folder)

    def _settings(self, role: str, number: int) -> dict[str, dict[str, Any]]:
        hosts, named = self._hosts, self.shape.names
        shared = {"address": f"{hosts['redis'][0].address}:6379"} if self.shape.redis else None
        engines = [f"{one.address}:{PORTS['inference']}" for one in hosts["inference"]]
        if named:
            engines = [f"inference-{one}.{self.named('inference')}" for one in range(len(engines))]
        cache = f"{hosts['cache'][number % len(hosts['cache'])].address}:{PORTS['cache']}"
        sections: dict[str, dict[str, Any]] = {
            "gateway": {
                "http_port": None,
                "identity": {"anonymous": "always"},
                "selector_address": (
                    self.named("selector") if named else f"selector:{PORTS['selector']}"
                ),
                "cache_address": self.named("cache") if named else cache,
            },
            "selector": {"inference_addresses": engines}
            | ({"redis": shared} if shared is not None else {}),
            "cache": {"shared": shared} if shared is not None else {"disk_max_bytes": 0},
            "inference": {
                "store": str(self._folder / "models"),
                "backend": "paced",
                "slots": self.shape.slots,
            },
        }
        section = {**sections[role], **self.shape.settings.get(role, {})}
        return {role: {"host": hosts[role][number].address, "port": PORTS[role], **section}}

    async def _answers(self) -> None:
        """Return once every selector knows all engines and every gateway has answered."""
        await self.knows_all_engines()
        for gateway in self.all("gateway"):
            async with AsyncClient(gateway.address, timeout=10, retries=5) as client:
                await client.generate("hello", max_tokens=1, cache=False)


async def _known_to(selector: Member) -> set[str]:
    """Return the addresses of the engines that a selector plans with."""
    async with grpc.aio.insecure_channel(selector.address) as channel:
        listed = await SelectorServiceStub(channel).ListCatalog(
            selector_pb2.ListCatalogRequest(), timeout=10
        )
    return {address for model in listed.models for address in model.addresses}


async def _answers_ping(address: str) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(address, PORTS["redis"])
            writer.write(b"PING\r\n")
            told = await reader.readline()
            writer.close()
            return told.startswith(b"+PONG")
    return False
