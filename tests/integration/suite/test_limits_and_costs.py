"""Limits and the ledger in a running suite: what callers meet, and what is left when it stops."""

from __future__ import annotations

import contextlib
import csv
import io
import json

import pytest
import yaml
from openai import AsyncOpenAI, RateLimitError
from tests.unit.cli.driving import lines, run

from llmrouter import suite
from llmrouter_client import AsyncClient, LlmrouterError

RULES = [
    {"name": "plan", "per": ["tenant"], "requests_per_hour": 3},
    {"name": "budget", "per": ["tenant"], "dollars_per_month": 1000, "tokens_per_day": 1_000_000},
]


@contextlib.asynccontextmanager
async def limited(config, **limits):
    """A suite with limits and prices; its configuration, and where it listens."""
    path, _ = config
    settings = yaml.safe_load(path.read_text())
    settings["gateway"]["limits"] = {"rules": RULES, **limits}
    settings["gateway"]["ledger"] = {"file": str(path.with_name("ledger.sqlite"))}
    settings.setdefault("selector", {})["unlisted_price"] = 100.0
    path.write_text(json.dumps(settings))
    async with suite.running(path) as addresses:
        yield path, addresses


async def ask(address, prompt):
    async with AsyncClient(address, retries=0) as client:
        return await client.generate(prompt, temperature=0, max_tokens=4)


async def test_limits_hold_over_both_doors_and_a_restart_and_costs_are_told(config):
    async with limited(config) as (path, addresses):
        first = await ask(addresses.gateway, "abcd")
        again = await ask(addresses.gateway, "abcd")
        assert again.cache == "hit"
        url = f"http://{addresses.http}/v1"
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            raw = client.completions.with_raw_response
            answer = await raw.create(model="auto", prompt="dcba", max_tokens=4, temperature=0)
            assert answer.headers["x-ratelimit-remaining-requests"] == "0"
            assert 0 < float(answer.headers["x-ratelimit-remaining-dollars"]) < 1000
            with pytest.raises(RateLimitError) as refused:
                await client.completions.create(model="auto", prompt="dcba", max_tokens=4)
            assert int(refused.value.response.headers["retry-after"]) > 60
    async with suite.running(path) as addresses:
        with pytest.raises(LlmrouterError) as refusal:
            await ask(addresses.gateway, "abcd")
        assert refusal.value.reason == "RATE_LIMITED"
    [told] = lines(run("stats", "cost", "--by", "tenant", "--config", str(path), "--json"))
    assert (told["tenant"], told["requests"], told["cached"], told["failed"]) == (
        "default", 5, 1, 2
    )  # fmt: skip
    assert told["cost"] > 0
    exported = run("stats", "cost", "--requests", "--csv", "-", "--config", str(path)).stdout
    rows = list(csv.DictReader(io.StringIO(exported)))
    assert [row["cache"] for row in rows] == ["miss", "hit", "miss"]
    assert [float(row["cost"]) > 0 for row in rows] == [True, False, True]
    assert rows[0]["model"] == first.model


@pytest.mark.parametrize("on_failure", ["open", "closed"])
async def test_without_its_redis_a_gateway_does_as_it_was_told_and_says_so(
    config,
    redis_server,
    on_failure,
):
    shared = {"address": redis_server.address, "timeout_seconds": 30}
    async with limited(config, redis=shared, on_failure=on_failure) as (_, addresses):
        url = f"http://{addresses.http}"
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

            async def health():
                answer = await client.get("/health", cast_to=object)
                return answer["status"], answer.get("limits", "")

            assert await health() == ("ok", "")
            for prompt in ("abcd", "abce", "abcf"):
                await ask(addresses.gateway, prompt)
            with pytest.raises(LlmrouterError, match="3 requests per hour"):
                await ask(addresses.gateway, "abcg")
            redis_server.stop()
            while (await health())[0] == "ok":
                pass
            said = (await health())[1]
            if on_failure == "open":
                assert (await ask(addresses.gateway, "abch")).model == "tiny"
                assert said.endswith("let in uncounted")
            else:
                with pytest.raises(LlmrouterError, match="cannot be checked") as refused:
                    await ask(addresses.gateway, "abch")
                assert refused.value.reason == "STORE_FAILED"
                assert said.endswith("refused")
            redis_server.start()
            while (await health())[0] != "ok":
                pass
            with pytest.raises(LlmrouterError, match="3 requests per hour"):
                await ask(addresses.gateway, "abci")
