"""Suites that share a Redis or Valkey: a question answered in one is answered in all."""

from tests.integration.suite.sharing import sharing
from tests.support.redis_server import needs_server, running

from llmrouter import suite
from llmrouter_client import AsyncClient

pytestmark = needs_server
ASKED = {"prompt": "abcd", "raw": True, "temperature": 0, "max_tokens": 8}


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
