"""Suites that share a Redis or Valkey: a question answered in one is answered in all."""

import json

from tests.integration.cache.redis_server import needs_server, running
from tests.integration.suite.conftest import free_ports

from llmrouter import suite
from llmrouter_client import AsyncClient

pytestmark = needs_server
ASKED = {"prompt": "abcd", "raw": True, "temperature": 0, "max_tokens": 8}


def sharing(config, address, name):
    """Return the path of a configuration on ports of its own, with the store's answers shared."""
    path, _ = config
    body = json.loads(path.read_text())
    ports = free_ports(4)
    for section, port in zip(("gateway", "selector", "cache", "inference"), ports, strict=True):
        body[section]["port"] = port
    body["gateway"] |= {"selector_address": f"127.0.0.1:{ports[1]}",
                        "cache_address": f"127.0.0.1:{ports[2]}"}  # fmt: skip
    body["selector"]["inference_addresses"] = [f"127.0.0.1:{ports[3]}"]
    body["cache"]["shared"] = {"address": address, "timeout_seconds": 1}
    made = path.with_name(name)
    made.write_text(json.dumps(body))
    return made


async def answer_of(path):
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        return await client.generate(**ASKED)


async def test_another_suite_answers_from_the_shared_store_and_goes_on_without_it(config, tmp_path):
    async with running(tmp_path) as server:
        first = await answer_of(sharing(config, server.address, "one.yaml"))
        second = await answer_of(sharing(config, server.address, "two.yaml"))
    alone = await answer_of(sharing(config, server.address, "three.yaml"))
    assert [first.level, second.level, alone.level] == ["", "shared", ""]
    assert first.text == second.text == alone.text
    assert alone.cache == "unavailable"
