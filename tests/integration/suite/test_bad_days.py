"""An answer that has expired stands in on a bad day, even in a suite that has begun anew."""

import asyncio
import json

import pytest
from tests.integration.cache.redis_server import needs_server, running
from tests.integration.engine.tiny_model import write_tiny_folder
from tests.integration.suite.test_shared_answers import sharing

from llmrouter import suite
from llmrouter.inference.models.card import ModelCard, Source, write_card
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


async def test_an_answer_of_a_version_that_was_replaced_while_the_suite_was_off_stands_in_for_none(
    config, tmp_path
):
    path, _ = config
    for seed, version in ((1, "one"), (2, "two"), (None, "")):
        store = write_store(tmp_path / f"store{version}", seed, version)
        body = json.loads(path.read_text())
        body["inference"]["store"] = str(store)
        path.write_text(json.dumps(body))
        async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
            if seed == 1:
                first = await client.generate(**ASKED)
                assert first.version == "one"
            if seed == 2:
                await client.generate(**ASKED | {"prompt": "efgh"})
            if seed is None:
                with pytest.raises(LlmrouterError, match="tiny"):
                    await client.generate(**ASKED, model="tiny", cache_stale=True)
                with pytest.raises(LlmrouterError):
                    await client.generate(**ASKED, cache_stale=True)
                later = ASKED | {"prompt": "efgh", "cache_stale": True}
                assert (await client.generate(**later)).version == "two"
            await asyncio.sleep(1.5)  # the gateway has looked at the versions


def write_store(root, seed, version):
    """Write a store with one version of one model, or with none."""
    root.mkdir()
    if seed is not None:
        folder = root / "tiny"
        folder.mkdir()
        write_tiny_folder(folder, seed=seed)
        source = Source("made up", "0")
        write_card(ModelCard("tiny", version, "llama", 1, "int8", 128, "MIT", source), folder)
    return root


@needs_server
async def test_another_suite_has_it_from_the_shared_store(config, tmp_path):
    (tmp_path / "empty").mkdir()
    async with running(tmp_path) as server:
        text = await answered(sharing(config, server.address, "one.yaml"))
        second = sharing(config, server.address, "two.yaml")
        _, answer = await on_a_bad_day(second, tmp_path / "empty")
    assert (answer.cache, answer.level, answer.text) == ("stale", "shared", text)
