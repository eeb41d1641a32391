"""A question that means the same as one before is answered from the cache, and says so."""

import asyncio
import json

import pytest

from llmrouter import suite
from llmrouter_client import AsyncClient, LlmrouterError

ALLOWING = {"raw": True, "temperature": 0, "max_tokens": 8, "cache_similar": True}


def written(config, similar):
    path, _ = config
    body = json.loads(path.read_text())
    if similar is not None:
        body["gateway"]["similar"] = similar
    path.write_text(json.dumps(body))
    return path


async def test_the_answer_of_a_similar_question_is_given_as_such_after_a_restart_too(config):
    path = written(config, {"embedder": ""})
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        first = await client.generate("What is the capital of France?", **ALLOWING)
        again = await client.generate("What is the capital of France?", **ALLOWING)
        also = await client.generate("What is the capital of Germany?", **ALLOWING)
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        asked = "Tell me what the capital of France is."
        similar = await client.generate(asked, **ALLOWING)
        own = await client.generate(asked, **{**ALLOWING, "cache_similar": False})
    assert [one.cache for one in (first, again, also)] == ["miss", "hit", "miss"]
    assert (similar.cache, similar.cached, similar.text) == ("similar", True, first.text)
    assert 0.5 <= similar.similarity < 1
    assert (own.cache, own.similarity) == ("miss", 0)


async def test_a_model_that_is_not_there_leaves_the_words(config):
    path, asked = written(config, {"embedder": "no-such-model"}), "How can I reset my password?"
    async with suite.running(path) as addresses, AsyncClient(addresses.gateway) as client:
        await client.generate("How do I reset my password?", **ALLOWING)
        async with asyncio.timeout(30):  # it is kept behind the answer
            while (await client.generate(asked, cache="read", **ALLOWING)).cache != "similar":  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_where_none_are_kept_the_wish_is_refused_by_name(config):
    async with (
        suite.running(written(config, None)) as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        with pytest.raises(LlmrouterError) as refused:
            await client.generate("Where?", **ALLOWING)
    assert refused.value.reason == "INVALID_ARGUMENT"
    assert [one.field for one in refused.value.violations] == ["cache.similar"]
