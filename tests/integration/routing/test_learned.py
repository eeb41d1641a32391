"""Ratings through the gateway teach the selector, which then routes by what it learned."""

import asyncio
import json

import pytest
from tests.integration.routing.scripted import Script, suite
from tests.support.waiting import until
from tests.unit.selector.learned.prompts import SUMS, TALES, prompt

from llmrouter.v1 import generation_pb2, selector_pb2
from llmrouter_client import AsyncClient, LlmrouterError

CATALOG = {
    "small": {"quality": 0.5, "input_price": 1, "output_price": 1},
    "large": {"quality": 0.6, "input_price": 50, "output_price": 50},
}
LEARNED = {"learned": {"exploration": 0.0}}


def scripts():
    return {"small": Script(), "large": Script()}


async def taught(client, count):
    """The small model fails at sums."""
    for place in range(count):
        kind = (SUMS, TALES)[place % 2]
        for model in ("small", "large"):
            answer = await client.generate(prompt(kind, place), model=model, cache="off")
            rated = await client.rate(answer, model == "large" or kind == TALES)
            assert rated.model == model
            assert rated.grades == place + 1


async def test_ratings_teach_the_suite_to_route(tmp_path):
    async with (
        suite(tmp_path, scripts(), CATALOG, **LEARNED) as running,
        AsyncClient(running.gateway) as client,
    ):
        before = await client.generate(prompt(TALES, 900), strategy="learned")
        assert before.model == "large"
        await taught(client, 100)

        async def learned():
            found = await client.generate(prompt(TALES, 901), strategy="learned", cache="off")
            return found.model == "small"

        await until(learned)
        sums = await client.generate(prompt(SUMS, 901), strategy="learned")
        assert sums.model == "large"
        assert "whose chance of a good answer is" in sums.reason
        explained = await running.selector.Explain(
            selector_pb2.ExplainRequest(plan_id=sums.plan_id)
        )
        record = json.loads(explained.record)
        assert all(80 <= one["grades"] <= 100 for one in record["candidates"])
        assert prompt(SUMS, 901) not in explained.record


async def test_what_was_learned_is_there_after_a_restart(tmp_path):
    async with (
        suite(tmp_path, scripts(), CATALOG, **LEARNED) as running,
        AsyncClient(running.gateway) as client,
    ):
        await taught(client, 20)
    async with (
        suite(tmp_path, scripts(), CATALOG, **LEARNED) as running,
        AsyncClient(running.gateway) as client,
    ):
        answer = await client.generate(prompt(TALES, 901), strategy="learned")
        assert (await client.rate(answer, 0.5)).grades == 21


async def refusal(client, *arguments, **options):
    with pytest.raises(LlmrouterError) as caught:
        await client.rate(*arguments, **options)
    return caught.value


async def test_wrong_ratings_are_refused_naming_the_field(tmp_path):
    async with (
        suite(tmp_path, scripts(), CATALOG) as running,
        AsyncClient(running.gateway) as client,
    ):
        answer = await client.generate("How?")
        plan = answer.plan_id
        assert (await refusal(client, "unknown", True)).reason == "UNKNOWN_PLAN"
        assert "judged" in str(await refusal(client, plan, 1.5))
        assert "score.value: is 9; it must be 1 to 5" in str(await refusal(client, plan, (9, 1, 5)))
        assert "score.highest" in str(await refusal(client, plan, (1, 5, 5)))
        assert "model: is 'huge'" in str(await refusal(client, plan, True, model="huge"))
        assert "plan_id: is 0 bytes" in str(await refusal(client, "", True))
        assert "verdict" in str(await refusal(client, plan, "good"))
        # The outcome is reported beside the answer.

        async def known():
            try:
                return (await client.rate(plan, (4, 1, 5))).grade == 0.75
            except LlmrouterError:
                return False

        await until(known)


async def test_no_features_leave_the_gateway_where_the_settings_forbid_it(tmp_path):
    gateway = {"prompt_features": False}
    async with (
        suite(tmp_path, scripts(), CATALOG, gateway=gateway) as running,
        AsyncClient(running.gateway) as client,
    ):
        answer = await client.generate("How?", strategy="learned")
        assert answer.model == "large"
        assert "nothing can be learned" in str(await refusal(client, answer, True))


async def test_features_of_a_wrong_size_are_refused(tmp_path):
    async with suite(tmp_path, scripts(), CATALOG) as running:
        request = selector_pb2.SelectRequest(
            context=generation_pb2.RequestContext(request_id="r", tenant="default")
        )
        request.features.version = 1
        request.features.shape = b"short"
        with pytest.raises(Exception, match=r"features\.shape: has 5 bytes; 49 are needed"):
            await asyncio.wait_for(running.selector.Select(request), 5)
