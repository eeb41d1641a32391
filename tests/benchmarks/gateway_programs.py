"""What `make bench NAME=gateway` runs: the upstream, the load, and the gateways between them."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tests.benchmarks.peers.contestants import GATEWAYS
from tests.support.ports import free_ports

__all__ = ["PEERS", "Gateway", "Load", "build_tools", "ours", "tensorzero", "upstream"]

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build/gobin"
MODEL = "instant"
_START_SECONDS = 120


def build_tools():
    """Compile the upstream and the load; raises LookupError without Go."""
    if shutil.which("go") is None:
        raise LookupError("go is not installed: upstream and load are compiled")
    source = Path(__file__).resolve().parent / "gateway_load"
    command = ["go", "build", "-ldflags", "-s -w", "-o", f"{TOOLS}/", "./upstream", "./load"]
    subprocess.run(command, cwd=source, check=True)


@contextlib.contextmanager
def upstream():
    """Run the provider that answers at once; yields `host:port`."""
    running = subprocess.Popen(
        [TOOLS / "upstream"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield running.stdout.readline().strip()
    finally:
        running.stdin.close()
        running.wait(timeout=10)


@dataclass
class Load:
    """What a run of the load saw."""

    milliseconds: list
    """How long each answer took, in order of size."""
    seconds: float
    errors: int = 0
    first_error: str = ""

    @classmethod
    def on(cls, url, callers, seconds, *, stream=False):
        """Ask the server at `url` for so long; raises RuntimeError when answers fail."""
        command = [TOOLS / "load", "-url", url, "-model", MODEL, "-callers", str(callers)]
        command += ["-seconds", str(seconds), f"-stream={str(stream).lower()}"]
        told = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=seconds + 90
        )
        return cls.read(json.loads(told.stdout))

    @classmethod
    def read(cls, told):
        """Return what was told as JSON."""
        times = sorted(one / 1000 for one in told["microseconds"] or ())
        load = cls(times, told["seconds"], told.get("errors", 0), told.get("first_error", ""))
        if load.errors or not times:
            raise RuntimeError(f"{load.errors} requests failed: {load.first_error}")
        return load

    def at(self, share):
        """Return the milliseconds that so large a share of the answers took at most."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(share * self.count))]

    @property
    def count(self):
        return len(self.milliseconds)

    @property
    def per_second(self):
        return self.count / self.seconds


@dataclass
class Gateway:
    """A gateway that runs as a program and speaks OpenAI's API."""

    name: str
    command: list
    port: int
    environment: dict = field(default_factory=dict)
    log: Path = Path(os.devnull)
    start_seconds: float = 0.0
    """From its call to its first answer."""
    process: psutil.Process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    @contextlib.contextmanager
    def running(self):
        """Run it until the block ends; it has answered once before."""
        began = time.monotonic()
        with self.log.open("w") as log:
            started = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment},
            )  # fmt: skip
        self.process = psutil.Process(started.pid)
        try:
            self._wait(started, began + _START_SECONDS)
            self.start_seconds = time.monotonic() - began
            yield self
        finally:
            started.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(timeout=20)
            started.kill()
            started.wait()

    def _wait(self, started, until):
        while time.monotonic() < until:
            if started.poll() is not None:
                raise RuntimeError(f"{self.name} ended at once: {self.log.read_text()[-2000:]}")
            with contextlib.suppress(OSError, RuntimeError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                Load.on(self.url, 1, 0.001)
                return
            time.sleep(0.02)
        told = self.log.read_text()[-2000:]
        raise RuntimeError(f"{self.name} did not answer within {_START_SECONDS} s: {told}")

    def processor_seconds(self):
        """Return what it and its children have computed."""
        times = [one.cpu_times() for one in self._processes()]
        return sum(one.user + one.system for one in times)

    def memory_bytes(self):
        """Return what of it is in memory, its children's too."""
        return sum(one.memory_info().rss for one in self._processes())

    def _processes(self):
        return [self.process, *self.process.children(recursive=True)]


def ours(address, folder):
    """Our suite as it comes, all services in one process; its provider is the upstream."""
    services = ("gateway", "selector", "cache", "inference")
    *ports, http = free_ports(len(services) + 1)
    body = {name: {"port": port} for name, port in zip(services, ports, strict=True)}
    body["gateway"] |= {"http_port": http, "identity": {"anonymous": "loopback"}}
    body["inference"] |= {
        "store": str(folder),
        "providers": [
            {"name": "fake", "base_url": f"http://{address}/v1", "models": [{"name": MODEL}]}
        ],
    }
    path = folder / "llmrouter.yaml"
    path.write_text(json.dumps(body))
    command = [sys.executable, "-m", "llmrouter", "up", "--config", str(path)]
    environment = {"XDG_DATA_HOME": str(folder / "data"), "LLMROUTER_ENV": "production"}
    return Gateway("ours", command, http, environment, folder / "ours.log")


def litellm(address, folder):
    """LiteLLM's proxy without a database, its call for a list of prices turned off."""
    [port] = free_ports(1)
    deployment = {"model": f"openai/{MODEL}", "api_base": f"http://{address}/v1", "api_key": "none"}
    path = folder / "litellm.yaml"
    path.write_text(
        json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": deployment}]})
    )
    command = [
        str(GATEWAYS / "bin/litellm"), "--config", str(path), "--host", "127.0.0.1",
        "--port", str(port),
    ]  # fmt: skip
    environment = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        # Anybody may ask on loopback, as of ours.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "PATH": f"{GATEWAYS / 'bin'}:{os.environ['PATH']}",
    }
    return Gateway("litellm", command, port, environment, folder / "litellm.log")


PEERS = {"litellm": (GATEWAYS / "bin/litellm", litellm)}


class _Embedded:
    """TensorZero's gateway inside a Python program, which asks it as often as it is told to."""

    def __init__(self, process):
        self._process = process

    def load(self, callers, seconds):
        """Ask it for so long."""
        self._process.stdin.write(json.dumps({"callers": callers, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:  # it writes its log there, too
            if line.startswith("{"):
                return Load.read(json.loads(line))
        raise RuntimeError("tensorzero ended")


@contextlib.contextmanager
def tensorzero(address, folder):
    """Run it; yields what asks it."""
    path = folder / "tensorzero.toml"
    path.write_text(
        "[gateway]\ndisable_pseudonymous_usage_analytics = true\nobservability.enabled = false\n"
        f'[models.{MODEL}]\nrouting = ["fake"]\n[models.{MODEL}.providers.fake]\ntype = "openai"\n'
        f'model_name = "{MODEL}"\napi_base = "http://{address}/v1/"\napi_key_location = "none"\n'
    )
    program = Path(__file__).resolve().parent / "peers/tensorzero_calls.py"
    with (folder / "tensorzero.log").open("w") as log:
        running = subprocess.Popen(
            [GATEWAYS / "bin/python", program, path, MODEL],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        yield _Embedded(running)
    finally:
        running.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=20)
        running.kill()
        running.wait()
