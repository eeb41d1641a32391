"""A conversation on one stream against a scripted gateway."""

from __future__ import annotations

import pytest
from tests.unit.client.fake_gateway import FakeGateway, serving

from llmrouter_client import AsyncClient, Delta, LlmrouterError, Message


async def test_turns_are_answered_by_the_options_before_them():
    gateway = FakeGateway()
    async with (
        serving(gateway) as address,
        AsyncClient(address, api_key="key") as client,
        client.converse(temperature=0.5) as talk,
    ):
        first = await talk.say("one")
        assert await first.text() == "re: one at 0.5"
        assert (first.number, first.forgotten, first.cancelled) == (1, 2, False)
        await talk.change(temperature=0)
        second = await talk.say([Message("user", "two")])
        assert await second.text() == "re: two at 0.0"
    assert gateway.credentials == ["Bearer key"]


async def test_turns_may_be_said_before_they_are_read_in_any_order():
    async with (
        serving(FakeGateway()) as address,
        AsyncClient(address) as client,
        client.converse() as talk,
    ):
        turns = [await talk.say(text) for text in ("one", "two", "three")]
        assert [await turn.text() for turn in reversed(turns)] == [
            f"re: {text} at 0.0" for text in ("three", "two", "one")
        ]


async def test_a_turn_that_fails_ends_itself_alone():
    async with (
        serving(FakeGateway()) as address,
        AsyncClient(address) as client,
        client.converse() as talk,
    ):
        with pytest.raises(LlmrouterError, match="too long") as failed:
            await (await talk.say("fail")).text()
        assert failed.value.reason == "CONTEXT_TOO_LONG"
        assert await (await talk.say("one")).text() == "re: one at 0.0"


async def test_a_turn_is_cancelled():
    async with (
        serving(FakeGateway()) as address,
        AsyncClient(address) as client,
        client.converse() as talk,
    ):
        turn = await talk.say("hang")
        assert isinstance(await anext(turn), Delta)
        await turn.cancel()
        assert [event async for event in turn] == []
        assert turn.cancelled


async def test_a_window_is_granted_again_as_it_is_read():
    gateway = FakeGateway()
    async with (
        serving(gateway) as address,
        AsyncClient(address) as client,
        client.converse(window=30) as talk,
    ):
        for _ in range(4):
            await (await talk.say("one")).text()
        await (await talk.say("fail")).cancel()
        with pytest.raises(LlmrouterError):
            await (await talk.say("fail")).text()
    granted = [one.credit.bytes for one in gateway.requests if one.HasField("credit")]
    assert granted == [30, 28, 28]


async def test_what_is_wrong_is_told_before_anything_is_sent():
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(LlmrouterError, match="window"):
            client.converse(window=0)
        with pytest.raises(LlmrouterError, match="temperature"):
            client.converse(temperature="hot")
        async with client.converse() as talk:
            for options in ({"timeout": 3}, {"compression": "gzip"}):
                with pytest.raises(LlmrouterError, match="give it to `converse`"):
                    await talk.change(**options)
            with pytest.raises(LlmrouterError):
                await (await talk.say("hi")).text()
        with pytest.raises(LlmrouterError, match="nothing answers"):
            await talk.say("hi")
