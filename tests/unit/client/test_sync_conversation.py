"""A conversation without an event loop."""

from __future__ import annotations

import threading

import pytest
from tests.unit.client.fake_gateway import FakeGateway, serving_in_thread

from llmrouter_client import Client, Delta, LlmrouterError, Message


def test_turns_block_and_options_change_between_them():
    with (
        serving_in_thread(FakeGateway()) as address,
        Client(address) as client,
        client.converse(temperature=0.5) as talk,
    ):
        first = talk.say("one")
        assert first.text() == "re: one at 0.5"
        assert (first.number, first.forgotten, first.cancelled) == (1, 2, False)
        talk.change(temperature=0)
        events = list(talk.say([Message("user", "two")]))
    assert isinstance(events[0], Delta)
    assert events[0].text == "re: two at 0.0"


def test_another_thread_may_cancel_a_turn_that_is_being_read():
    with (
        serving_in_thread(FakeGateway()) as address,
        Client(address) as client,
        client.converse() as talk,
    ):
        turn = talk.say("hang")
        next(turn)
        canceller = threading.Timer(0.05, turn.cancel)
        canceller.start()
        assert list(turn) == []
        canceller.join()
        assert turn.cancelled


def test_a_turn_that_fails_ends_itself_alone_and_what_is_wrong_is_told_at_once():
    with serving_in_thread(FakeGateway()) as address, Client(address) as client:
        with pytest.raises(LlmrouterError, match="window"):
            client.converse(window=0)
        with client.converse() as talk:
            with pytest.raises(LlmrouterError, match="too long"):
                talk.say("fail").text()
            assert talk.say("one").text() == "re: one at 0.0"
