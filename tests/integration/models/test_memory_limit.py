"""Three models in the memory of two, under a limit that the kernel keeps: nobody is ended by it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys

import pytest
from tests.integration.models.driving import demo_folder
from tests.support.memory_group import memory_group
from tests.support.ports import free_ports
from tests.support.programs import program

from llmrouter_client import AsyncClient, LlmrouterError

pytestmark = [pytest.mark.model, pytest.mark.timeout(360)]

LIMIT = 1900 << 20
CRITICAL = 0.85
"""Share of the limit that models may take, by default."""
NAMES = ("demo", "small", "twin")
PROMPT = "Count on, and name each number: " + ", ".join(map(str, range(200)))
"""Some 800 tokens, so that keys and values weigh as much as the weights."""


@pytest.fixture
def config(tmp_path):
    """The demo model at 8 bits twice and at 4 bits once, for a suite on free ports."""
    store = tmp_path / "store"
    store.mkdir()
    for name, precision in zip(NAMES, ("int8", "int4", "int8"), strict=True):
        (store / name).symlink_to(demo_folder(precision).path)
    ports = free_ports(5)
    body = {
        "gateway": {"port": ports[0], "http_port": ports[1]}
        | {"selector_address": f"127.0.0.1:{ports[2]}", "cache_address": f"127.0.0.1:{ports[3]}"},
        "selector": {"port": ports[2], "inference_addresses": [f"127.0.0.1:{ports[4]}"]},
        "cache": {"port": ports[3], "disk_max_bytes": 0},
        "inference": {"port": ports[4], "store": str(store), "loading": "demand", "slots": 8}
        | {"context": 1024, "prefix_cache_mib": 16, "cache_type": "float32"},
    }
    path = tmp_path / "llmrouter.yaml"
    path.write_text(json.dumps(body))
    return path, f"127.0.0.1:{ports[0]}"


def up(path, group):
    """The whole suite as one program in the group."""
    command = [sys.executable, "-m", "llmrouter.cli", "up", "--config", str(path)]
    return program(*command, seconds=40, preexec_fn=group.join)


async def _routable(client):
    """Wait until every model can be asked for."""
    for _ in range(300):
        with contextlib.suppress(LlmrouterError):
            if {one.name for one in await client.models()} >= set(NAMES):
                return
        await asyncio.sleep(0.2)
    raise AssertionError("the suite never became routable")


@pytest.mark.slow  # `test_switching` keeps its budget in little time; here the kernel judges
async def test_long_prompts_for_three_models_of_which_two_fit_are_all_answered(config):
    path, gateway = config
    with memory_group(LIMIT) as group:
        async with up(path, group) as process, AsyncClient(gateway) as client:
            await _routable(client)

            async def ask(number):
                return await client.generate(
                    f"{number}. {PROMPT}", model=NAMES[number % 3], max_tokens=4, temperature=0,
                    cache="off", timeout=280,
                )  # fmt: skip

            answers = await asyncio.gather(*(ask(number) for number in range(24)))
            assert process.returncode is None
        assert group.killed == 0
        assert group.peak < LIMIT * CRITICAL, "models were let in for which there was no memory"
    assert {answer.usage.prompt_tokens > 500 for answer in answers} == {True}
    assert [answer.model for answer in answers] == [NAMES[number % 3] for number in range(24)]
