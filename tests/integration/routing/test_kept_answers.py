"""What a model answered before is given while it must be left alone."""

import pytest
from tests.integration.routing.scripted import Script, suite
from tests.support.waiting import until

from llmrouter.common.errors import Reason
from llmrouter.v1 import inference_pb2, selector_pb2
from llmrouter_client import AsyncClient, LlmrouterError

CATALOG = {"only": {"quality": 0.5, "input_price": 1, "output_price": 1}}


def asking(running):
    """Return a client that takes no for an answer: what is refused here asks it to wait."""
    return AsyncClient(running.gateway, retries=0)


async def refused(client, question):
    with pytest.raises(LlmrouterError) as caught:
        await client.generate(question, temperature=0)
    return caught.value


async def test_kept_answers_are_given_while_a_breaker_is_open(tmp_path):
    scripts = {"only": Script("Paris")}
    async with suite(tmp_path, scripts, CATALOG) as running, asking(running) as client:
        assert (await client.generate("Which city?", temperature=0)).text == "Paris"
        scripts["only"].error = Reason.GENERATION_FAILED
        for place in range(5):
            await refused(client, f"Question {place}?")

        async def opened():
            answer = await running.selector.ListBreakers(selector_pb2.ListBreakersRequest())
            return any(one.state == selector_pb2.BREAKER_STATE_OPEN for one in answer.breakers)

        await until(opened)
        again = await client.generate("Which city?", temperature=0)
        assert (again.text, again.cached) == ("Paris", True)
        error = await refused(client, "Another one?")
        assert error.reason == "MODEL_UNAVAILABLE"
        assert "only cannot serve now: 1 circuit breaker is open" in str(error)
        assert len(running.inference.asked) == 6


async def test_kept_answers_are_given_while_the_model_drains(tmp_path):
    scripts = {"only": Script("Paris")}
    async with suite(tmp_path, scripts, CATALOG) as running, asking(running) as client:
        assert (await client.generate("Which city?", temperature=0)).text == "Paris"
        running.inference.state = inference_pb2.MODEL_STATE_DRAINING

        async def drains():
            catalog = await running.selector.ListCatalog(selector_pb2.ListCatalogRequest())
            return all(one.draining for model in catalog.models for one in model.endpoints)

        await until(drains)
        assert (await client.generate("Which city?", temperature=0)).cached
        assert "every replica is draining" in str(await refused(client, "Another one?"))
        running.inference.state = inference_pb2.MODEL_STATE_READY

        async def serves():
            return not await drains()

        await until(serves)
        assert (await client.generate("Another one?", temperature=0)).text == "Paris"
