"""OpenAI's own client talks to the whole suite without change."""

import asyncio

import openai
import pytest
from openai import AsyncOpenAI

from llmrouter_client import AsyncClient

TURNS = [{"role": "user", "content": "abcd"}]
GREEDY = {"temperature": 0, "max_tokens": 8}


@pytest.fixture
async def client(gateway, config):
    _, ports = config
    async with AsyncOpenAI(
        base_url=f"http://127.0.0.1:{ports['http']}/v1", api_key="none", max_retries=0
    ) as client:
        yield client


async def test_both_doors_give_the_same_answer(client, gateway):
    async with AsyncClient(gateway) as own:
        expected = await own.generate("abcd", **GREEDY)
    whole = await client.chat.completions.create(model="auto", messages=TURNS, **GREEDY)
    stream = await client.chat.completions.create(
        model="tiny", messages=TURNS, stream=True, extra_body={"cache": {"mode": "off"}}, **GREEDY
    )
    streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert whole.choices[0].message.content == streamed == expected.text
    assert whole.llmrouter["cache"] == "hit"
    assert whole.usage.completion_tokens == 8


async def test_raw_prompts_are_completed_side_by_side(client):
    alone = [
        (await client.completions.create(model="tiny", prompt=prompt, **GREEDY)).choices[0].text
        for prompt in ("abcd", "ab")
    ]
    both = await client.completions.create(model="tiny", prompt=["abcd", "ab"], **GREEDY)
    assert [choice.text for choice in both.choices] == alone


async def test_a_chat_is_streamed_and_its_usage_told(client):
    stream = await client.chat.completions.create(
        model="auto:balanced", messages=TURNS, stream=True,
        stream_options={"include_usage": True}, **GREEDY,
    )  # fmt: skip
    chunks = [chunk async for chunk in stream]
    assert chunks[0].model == "tiny"
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-1].llmrouter["attempts"][0]["error"] is None


async def test_an_answer_fits_the_schema_that_is_asked_for(client):
    answer = await client.chat.completions.create(
        model="tiny", messages=TURNS, temperature=0, max_tokens=40,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "day", "schema": {"enum": ["Monday", "Sunday"]}},
        },
    )  # fmt: skip
    assert answer.choices[0].message.content in ('"Monday"', '"Sunday"')


async def test_what_the_chain_refuses_names_the_field(client):
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="tiny", messages=TURNS, temperature=3)
    assert caught.value.body["param"] == "temperature"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="nobody", messages=TURNS)
    assert caught.value.code == "model_not_found"


async def test_many_ask_at_once(client):
    async def ask(index):
        answer = await client.chat.completions.create(
            model="auto", messages=[{"role": "user", "content": f"ab {index}"}], **GREEDY
        )
        return answer.usage.completion_tokens

    assert await asyncio.gather(*(ask(index) for index in range(32))) == [8] * 32


async def test_the_models_are_listed(client):
    assert [model.id async for model in client.models.list()] == ["auto", "tiny"]
