"""A conversation with a real engine, over both kinds of suite."""

import asyncio

from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder
from tests.integration.suite.test_slow_reader import until_nothing_runs

from llmrouter import suite
from llmrouter.common import inprocess
from llmrouter_client import AsyncClient, Delta, Message

TOKENS = 10_000
LONG = {
    "temperature": 1.0, "seed": 1, "max_tokens": TOKENS, "min_tokens": TOKENS, "logprobs": True,
    "top_logprobs": 20, "cache": "off",
}  # fmt: skip


async def test_what_was_said_is_said_again_to_the_model(gateway):
    async with AsyncClient(gateway) as client:
        async with client.converse(temperature=0, max_tokens=6) as talk:
            first = await (await talk.say("One.")).text()
            second = await (await talk.say("Two.")).text()
        said = [Message("user", "One."), Message("assistant", first), Message("user", "Two.")]
        assert (await client.generate(said, temperature=0, max_tokens=6)).text == second


async def test_a_reader_behind_its_window_gives_the_slot_up_and_misses_nothing(
    config, tmp_path, monkeypatch
):
    path, _ = config
    monkeypatch.setattr(inprocess, "_BUFFERED_EVENTS", 4)  # less is on its way than the answer has
    write_tiny_folder(tmp_path / "store" / "tall", TinyShape(context=16_384))
    async with (
        suite.running(path, store=tmp_path / "store") as addresses,
        AsyncClient(addresses.gateway) as client,
        client.converse(window=1024, **LONG) as talk,
    ):
        turn = await talk.say("abcd")
        while not isinstance(await anext(turn), Delta):
            pass
        statistics = await until_nothing_runs(addresses.inference)
        assert statistics.completion_tokens < TOKENS
        assert (await client.generate("hi", max_tokens=2)).usage.completion_tokens == 2
        async with asyncio.timeout(90):
            async for event in turn:
                last = event
    assert last.usage.completion_tokens == TOKENS
