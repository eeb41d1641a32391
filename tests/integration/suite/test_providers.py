"""A suite whose provider is another suite: its HTTP API stands for all that speak OpenAI's."""

import contextlib
import json

import pytest

from llmrouter import suite
from llmrouter_client import AsyncClient, LlmrouterError

GREEDY = {"temperature": 0.0, "max_tokens": 8}


@contextlib.asynccontextmanager
async def in_front_of(tmp_path, address, **more):
    model = {"name": "far", "upstream": "tiny", "context": 64}
    provider = {"name": "other", "base_url": f"http://{address}/v1", "models": [model], **more}
    body = {
        "inference": {"store": str(tmp_path), "providers": [provider]},
        "selector": {"refresh_interval_seconds": 0.2},
        "cache": {"disk_max_bytes": 0},
    }
    path = tmp_path / "front.yaml"
    path.write_text(json.dumps(body))
    async with (
        suite.running(path, ports="free") as addresses,
        AsyncClient(addresses.gateway) as client,
    ):
        yield client


@pytest.fixture
async def behind(config):
    async with suite.running(config[0]) as addresses:
        yield addresses


async def test_a_providers_model_answers_like_a_local_one(behind, tmp_path):
    async with AsyncClient(behind.gateway) as near:
        expected = await near.generate("abcd", **GREEDY)
    async with in_front_of(tmp_path, behind.http) as client:
        answer = await client.generate("abcd", **GREEDY)
        again = await client.generate("abcd", **GREEDY)
        [told] = [model for model in await client.models() if model.name == "far"]
    assert (answer.text, answer.model) == (expected.text, "far")
    assert answer.usage == expected.usage
    assert again.cached
    assert told.version == answer.version


async def test_what_the_provider_does_not_know_is_told_by_name(behind, tmp_path):
    unknown = [{"name": "far", "upstream": "nobody"}]
    async with in_front_of(tmp_path, behind.http, models=unknown) as client:
        with pytest.raises(LlmrouterError, match="other does not know the model"):
            await client.generate("abcd", **GREEDY)
