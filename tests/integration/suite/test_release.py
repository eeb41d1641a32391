"""Two releases, a Prometheus that watches them, and callers whose traffic is shifted."""

import asyncio
import contextlib
import json
import shutil
import sys

import pytest
from tests.integration.suite.conftest import wait_until_ready
from tests.support.ports import free_ports
from tests.support.programs import program

from llmrouter_client import AsyncClient, LlmrouterError

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed"),
]
AWAY = {
    "name": "away",
    "base_url": "http://127.0.0.1:1/v1",
    "models": [{"name": "tiny", "upstream": "tiny", "context": 64}],
}
"""A provider that nobody can reach."""


class Colour:
    """One release: all services in a program of their own."""

    def __init__(self, name, folder, inference):
        names = ("gateway", "selector", "cache", "inference")
        self.name, (self.port, *ports, self.page) = name, free_ports(5)
        body = {name: {"port": port} for name, port in zip(names, (self.port, *ports), strict=True)}
        body["gateway"] |= {"http_port": None, "identity": {"anonymous": "loopback"}}
        body["selector"]["refresh_interval_seconds"] = 0.2
        body["cache"]["disk_max_bytes"] = 0
        body["inference"] |= inference
        body["telemetry"] = {"prometheus": {"enabled": True, "port": self.page}}
        self._folder = folder / name
        self._folder.mkdir()
        self._config = self._folder / "llmrouter.yaml"
        self._config.write_text(json.dumps(body))

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self):
        async with program(
            sys.executable, "-m", "llmrouter.cli", "up", "-c", str(self._config),
            environment={"XDG_DATA_HOME": str(self._folder)},
        ):  # fmt: skip
            await wait_until_ready(self.port)
            yield self


@contextlib.asynccontextmanager
async def watching(colours, folder):
    """Run Prometheus over the pages of both; yields its URL."""
    [port] = free_ports(1)
    targets = [
        {
            "targets": [f"127.0.0.1:{one.page}"],
            "labels": {"service": f"{one.name}-llmrouter-gateway-headless"},
        }
        for one in colours
    ]
    file = folder / "prometheus.json"
    scrape = {"job_name": "llmrouter", "static_configs": targets}
    file.write_text(
        json.dumps({"global": {"scrape_interval": "300ms"}, "scrape_configs": [scrape]})
    )
    async with program(
        PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ):  # fmt: skip
        yield f"http://127.0.0.1:{port}"


class Callers:
    """Ask all the time, and share their questions as a file says: per cent of the new release."""

    def __init__(self, old, new, shares):
        self._places, self._shares = (old, new), shares
        self.asked = {old.name: 0, new.name: 0}
        self.failed = {old.name: 0, new.name: 0}
        shares.write_text("0\n")

    @contextlib.asynccontextmanager
    async def calling(self):
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(AsyncClient(one.address, retries=0))
                for one in self._places
            ]
            task = asyncio.create_task(self._call(clients))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _call(self, clients):
        number = 0
        while True:
            number += 1
            new = number * 37 % 100 < int(self._shares.read_text().split()[-1])
            name = self._places[new].name
            self.asked[name] += 1
            try:
                await clients[new].generate("ab", cache=False, temperature=0.0, max_tokens=2)
            except LlmrouterError:
                self.failed[name] += 1
            await asyncio.sleep(0.01)


async def shifted(old, new, prometheus, shares):
    """Run `llmrouter release`; return its exit status and what it told."""
    script = f"import sys; open({str(shares)!r}, 'a').write(sys.argv[1] + chr(10))"
    apply = f'{sys.executable} -c "{script}" {{new}}'
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmrouter.cli", "release", old.name, new.name, "--json",
        "--apply", apply, "--prometheus", prometheus, "--address", new.address,
        "--stages", "30,100", "--interval", "4", "--patience", "60", "--min-requests", "10",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode, [json.loads(line) for line in said.splitlines()]


@pytest.mark.parametrize("kind", ["good", "bad", "without a model"])
async def test_a_release_gets_all_the_traffic_or_none(tmp_path, store, kind):
    good = kind == "good"
    blue = Colour("blue", tmp_path, {"store": str(store), "slots": 4})
    (tmp_path / "empty").mkdir()
    bad = {"store": str(tmp_path / "empty")} | ({"providers": [AWAY]} if kind == "bad" else {})
    green = Colour("green", tmp_path, {"store": str(store), "slots": 4} if good else bad)
    shares = tmp_path / "shares"
    callers = Callers(blue, green, shares)
    async with (
        blue.running(), green.running(), watching((blue, green), tmp_path) as prometheus,
        callers.calling(),
    ):  # fmt: skip
        status, told = await shifted(blue, green, prometheus, shares)
    assert callers.failed["blue"] == 0
    assert callers.asked["green"] > 10
    looks = [one for one in told if one["event"] == "look"]
    if good:
        assert status == 0, told
        assert shares.read_text().split() == ["0", "30", "100"]
        assert told[-1] == {"event": "released", "release": "green"}
        assert callers.failed["green"] == 0
        assert any(one["old"]["requests"] > 0 for one in looks if one["old"])
    else:
        assert status == 1
        assert shares.read_text().split() == ["0", "30", "0"]
        assert "rolled back: " in told[-1]["message"]
        assert callers.failed["green"] == callers.asked["green"]
