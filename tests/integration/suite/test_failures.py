"""What docs/operations.md says of failures and of copies, made to happen."""

import asyncio
import contextlib
import shutil
import signal
import sys

import yaml
from tests.integration.suite.conftest import four_processes, wait_until_ready
from tests.integration.suite.test_recovery import restarted, until_refused, until_served
from tests.support.ports import free_ports
from tests.support.programs import program

from llmrouter_client import AsyncClient

QUESTION = {"raw": True, "temperature": 0.0, "max_tokens": 4}


async def asked(client, text):
    return await client.generate(text, **QUESTION)


async def kept_answer(client, text):
    """Return the answer that the cache has, once the gateway has found the cache again."""
    for _ in range(100):
        answer = await client.generate(text, cache="read", **QUESTION)
        if answer.cached:
            return answer
        await asyncio.sleep(0.1)
    raise AssertionError(f"the cache has no answer to {text!r}")


async def test_without_a_selector_nothing_is_answered_until_it_is_back(config):
    path, ports = config
    address = f"127.0.0.1:{ports['gateway']}"
    async with four_processes(path, ports) as running, AsyncClient(address, retries=0) as client:
        await asked(client, "kept")
        running["selector"].kill()
        refused = await until_refused(client, "UPSTREAM_UNAVAILABLE")
        assert refused.code.name == "UNAVAILABLE"
        await restarted(running, "selector", path)
        await until_served(client)


async def test_without_a_cache_answers_are_computed_and_kept_ones_outlive_its_death(config):
    path, ports = config
    address = f"127.0.0.1:{ports['gateway']}"
    async with four_processes(path, ports) as running, AsyncClient(address) as client:
        kept = await asked(client, "kept")
        assert (await asked(client, "kept")).cached
        running["cache"].kill()
        await running["cache"].communicate()
        computed = await asked(client, "new")
        assert not computed.cached
        await restarted(running, "cache", path)
        await wait_until_ready(ports["cache"])
        assert (await kept_answer(client, "kept")).text == kept.text


@contextlib.asynccontextmanager
async def second_engine(path, port):
    """Another inference service of the same configuration on a port of its own."""
    environment = {"LLMROUTER_ENV": "production", "LLMROUTER_INFERENCE__PORT": str(port)}
    command = [sys.executable, "-m", "llmrouter.inference", "--config", str(path)]
    async with program(*command, environment=environment) as process:
        await wait_until_ready(port)
        yield process


async def test_one_of_two_engines_that_is_killed_costs_no_question_its_answer(config):
    path, ports = config
    [port] = free_ports(1)
    settings = yaml.safe_load(path.read_text())
    settings["selector"]["inference_addresses"].append(f"127.0.0.1:{port}")
    path.write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{ports['gateway']}"
    async with (
        second_engine(path, port) as second,
        four_processes(path, ports),
        AsyncClient(address, retries=0) as client,
    ):
        for number in range(60):
            if number == 20:
                second.kill()
            await client.generate(f"question {number}", cache=False, **QUESTION)


async def test_a_copy_of_the_answers_gives_them_after_the_disk_is_lost(config, tmp_path):
    path, ports = config
    answers, copy = tmp_path / "answers", tmp_path / "copy"
    address = f"127.0.0.1:{ports['gateway']}"
    async with four_processes(path, ports) as running, AsyncClient(address) as client:
        await asked(client, "kept")
        running["cache"].send_signal(signal.SIGTERM)
        await running["cache"].communicate()
        shutil.copytree(answers, copy)
        shutil.rmtree(answers)
        shutil.copytree(copy, answers)
        await restarted(running, "cache", path)
        await wait_until_ready(ports["cache"])
        await kept_answer(client, "kept")
