"""Many questions at once against a scripted gateway."""

from __future__ import annotations

import pytest
from tests.unit.client.fake_gateway import FakeGateway, serving, serving_in_thread

from llmrouter_client import AsyncClient, Client, LlmrouterError, Message, Question


async def collect(batch):
    async with batch:
        return {result.index: result async for result in batch}


async def test_each_question_has_its_answer_or_its_error():
    gateway = FakeGateway()
    async with serving(gateway) as address, AsyncClient(address) as client:
        questions = ["one", Question("two", {"temperature": 1.0}), "fail", [Message("user", "me")]]
        results = await collect(client.batch(questions, concurrency=3, temperature=0))
    assert {index: results[index].answer.text for index in (0, 1, 3)} == {
        0: "re: one",
        1: "re: two",
        3: "re: me",
    }
    assert results[2].answer is None
    assert (results[2].error.reason, results[2].error.code.name) == (
        "CONTEXT_TOO_LONG",
        "INVALID_ARGUMENT",
    )
    (request,) = gateway.requests
    assert request.concurrency == 3
    assert [one.sampling.temperature for one in request.requests] == [0, 1, 0, 0]


async def test_a_batch_that_breaks_off_asks_what_has_no_answer_again():
    gateway = FakeGateway()
    async with serving(gateway) as address, AsyncClient(address) as client:
        results = await collect(client.batch(["one", "break", "two"]))
    assert {index: one.answer.text for index, one in results.items()} == {
        0: "re: one",
        1: "re: break",
        2: "re: two",
    }
    assert [len(one.requests) for one in gateway.requests] == [3, 2]


async def test_a_batch_too_large_for_one_call_is_asked_in_several():
    gateway = FakeGateway()
    async with serving(gateway) as address, AsyncClient(address) as client:
        results = await collect(client.batch([f"question {n}" for n in range(2300)]))
        assert len(results) == 2300
        assert [len(one.requests) for one in gateway.requests] == [1000, 1000, 300]
        gateway.requests.clear()
        await collect(client.batch(["x" * 1_000_000] * 10))
    assert [len(one.requests) for one in gateway.requests] == [4, 4, 2]


async def test_what_fits_no_field_is_refused_with_its_question():
    async with AsyncClient("127.0.0.1:1") as client:
        for questions, field in (
            (["one", Question("two", {"temperature": "hot"})], r"requests\[1\]"),
            ([Question("one", {"timeout": 3})], r"requests\[0\].timeout"),
            ([Question("one", {"compression": "gzip"})], r"requests\[0\].compression"),
            ("one", "requests"),
        ):
            with pytest.raises(LlmrouterError, match=field):
                client.batch(questions)
        with pytest.raises(LlmrouterError, match="concurrency"):
            client.batch(["one"], concurrency=0)


async def test_an_empty_batch_asks_nobody():
    async with AsyncClient("127.0.0.1:1") as client:
        assert await collect(client.batch([])) == {}


def test_the_blocking_client_gives_results_as_they_come():
    with serving_in_thread(FakeGateway()) as address, Client(address) as client:
        with client.batch(["one", "two"]) as results:
            assert next(results).answer.text == "re: two"
        assert list(results) == []
