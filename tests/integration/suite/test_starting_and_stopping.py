"""Starting and stopping the suite and its services as programs, by real signals."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys

import pytest
import yaml

from llmrouter import suite
from llmrouter.common.addresses import address_of
from llmrouter.common.hosting import Hosted, Service
from llmrouter.common.server import until_signalled
from llmrouter.common.settings import ConfigError
from llmrouter_client import AsyncClient, LlmrouterError


async def run_llmrouter(*arguments):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmrouter", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LLMROUTER_ENV": "production"},
    )  # fmt: skip


@pytest.mark.parametrize("command", ["up", "gateway", "selector", "cache", "inference"])
async def test_a_port_in_use_is_told_in_one_sentence_with_its_remedy(config, command):
    path, ports = config
    taken = "gateway" if command == "up" else command
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", ports[taken]))
        holder.listen()
        process = await run_llmrouter(command, "--config", str(path))
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    last = errors.decode().splitlines()[-1]
    assert last.startswith("error: ")
    assert f"cannot listen on 127.0.0.1:{ports[taken]}" in last
    assert f"set {taken}.port" in last
    assert "Traceback" not in errors.decode()


async def test_up_tells_its_addresses_and_ends_in_order_on_sigterm(config):
    path, ports = config
    process = await run_llmrouter("up", "--config", str(path), "--json")
    told = []
    async with asyncio.timeout(60):
        while not told or told[-1]["event"] != "ready":
            told.append(json.loads(await process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        rest, _ = await process.communicate()
    assert told[-1]["addresses"] == {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    assert json.loads(rest.splitlines()[-1])["event"] == "stopped"
    assert process.returncode == 0


@contextlib.asynccontextmanager
async def entering(steps, seconds):
    steps.append("starting")
    try:
        await asyncio.sleep(seconds)
        yield
    finally:
        steps.append("freed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [60, 0])
async def test_a_signal_gives_up_a_start_as_it_ends_a_run(number, seconds):
    steps = []
    running = asyncio.ensure_future(until_signalled(entering(steps, seconds)))
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), number)
    await asyncio.wait_for(running, 10)
    assert steps == ["starting", "freed"]


async def test_what_goes_wrong_while_starting_is_raised():
    @contextlib.asynccontextmanager
    async def broken():
        raise ConfigError("no such model")
        yield

    with pytest.raises(ConfigError, match="no such model"):
        await until_signalled(broken())


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("no-such-host.invalid", "is no address and no known host; set cache.host"),
        ("a..b", "is no address and no known host; set cache.host"),
        ("a" * 80, "is no address and no known host; set cache.host"),
        ("192.0.2.1", "is no address of this machine; set cache.host"),
    ],
)
async def test_a_host_that_cannot_be_listened_on_is_not_told_as_a_port_in_use(host, why):
    hosted = Hosted(Service("cache", "x.Y", lambda server: None, host, 0))
    with pytest.raises(ConfigError, match=why):
        await hosted.bind()


async def test_a_model_that_the_store_does_not_have_is_refused_with_those_it_has(config, tmp_path):
    path, _ = config
    settings = yaml.safe_load(path.read_text())
    settings["inference"] |= {"store": str(tmp_path), "models": ["smol"]}
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "genai_config.json").write_text("{}")
    path.write_text(yaml.safe_dump(settings))
    process = await run_llmrouter("up", "--config", str(path))
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert errors.decode().splitlines()[-1].endswith(f"{tmp_path} does not have; there are: small")


async def test_a_wanted_model_whose_folder_is_broken_fails_alone(config, tmp_path, store):
    path, _ = config
    settings = yaml.safe_load(path.read_text())
    folders = tmp_path / "folders"
    shutil.copytree(store, folders)
    (folders / "broken").mkdir()
    (folders / "broken" / "genai_config.json").write_text("{")
    settings["inference"] |= {"store": str(folders), "models": ["broken", "tiny"]}
    path.write_text(yaml.safe_dump(settings))
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        assert (await client.generate("abc", raw=True, max_tokens=2)).model == "tiny"
        with pytest.raises(LlmrouterError, match="broken") as refused:
            await client.generate("abc", raw=True, max_tokens=2, model="broken")
    assert refused.value.retry_after is None


async def test_ipv6_addresses_are_written_with_brackets():
    assert address_of("::1", 1) == "[::1]:1"
    assert address_of("127.0.0.1", 1) == "127.0.0.1:1"
    hosted = Hosted(Service("cache", "x.Y", lambda server: None, "::1", 0))
    try:
        assert (await hosted.bind()).startswith("[::1]:")
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    finally:
        await hosted.stop()
