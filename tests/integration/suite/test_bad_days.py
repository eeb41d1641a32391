"""An answer that has expired stands in on a bad day, even in a suite that has begun anew."""

import asyncio
import json

import pytest
from tests.integration.suite.sharing import sharing
from tests.support.redis_server import needs_server, running

from llmrouter import suite
from llmrouter_client import AsyncClient, LlmrouterError

ASKED = {"prompt": "abcd", "raw": True, "temperature": 0, "max_tokens": 8, "cache_ttl": 1}


async def answered(path):
    """Have an answer kept that expires at once; return its text."""
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        answer = await client.generate(**ASKED)
    await asyncio.sleep(1.1)
    return answer.text


async def on_a_bad_day(path, store):
    """Return what a suite without models answers, once to a caller who allows old answers."""
    body = json.loads(path.read_text())
    body["inference"]["store"] = str(store)
    path.write_text(json.dumps(body))
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        with pytest.raises(LlmrouterError) as refused:
            await client.generate(**ASKED)
        return refused.value.reason, await client.generate(**ASKED, cache_stale=True)


async def test_after_a_restart_the_disk_has_the_answer_that_no_model_can_give(config, tmp_path):
    (tmp_path / "empty").mkdir()
    path, _ = config
    text = await answered(path)
    reason, answer = await on_a_bad_day(path, tmp_path / "empty")
    assert (answer.cache, answer.level, answer.text) == ("stale", "disk", text)
    assert reason in ("NO_CANDIDATE", "MODEL_UNAVAILABLE")


@needs_server
async def test_another_suite_has_it_from_the_shared_store(config, tmp_path):
    (tmp_path / "empty").mkdir()
    async with running(tmp_path) as server:
        text = await answered(sharing(config, server.address, "one.yaml"))
        second = sharing(config, server.address, "two.yaml")
        _, answer = await on_a_bad_day(second, tmp_path / "empty")
    assert (answer.cache, answer.level, answer.text) == ("stale", "shared", text)
