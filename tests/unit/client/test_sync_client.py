"""The blocking face of the client."""

from __future__ import annotations

import threading

import pytest
from tests.unit.client.fake_gateway import TEXT, FakeGateway, serving_in_thread, whole_answer

from llmrouter_client import Client, Delta, Finished, LlmrouterError


def test_the_same_methods_block():
    with serving_in_thread(FakeGateway()) as address, Client(address) as client:
        assert client.generate("hi").text == "".join(TEXT)
        assert client.models()[0].name == "a"
        assert client.embed(["red", "blue"])[1].values == (1.0, 1.0)
        assert client.embed("red", model="mini").model == "mini"
        assert client.rate("p1", verdict=True).grades == 12
        events = list(client.stream("hi"))
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "".join(TEXT)
    assert isinstance(events[-1], Finished)


def test_closing_a_stream_cancels_the_call():
    gateway = FakeGateway([*whole_answer()[:2], 60.0])
    with serving_in_thread(gateway) as address, Client(address) as client:
        with client.stream("hi") as stream:
            next(stream)
            assert stream.started.model == "smollm2-135m-instruct-int8"
        assert gateway.ended.wait(5)
        assert list(stream) == []


def test_closing_the_client_ends_its_thread():
    client = Client("127.0.0.1:1", retries=0)
    with pytest.raises(LlmrouterError, match="nothing answers"):
        client.generate("hi")
    client.close()
    client.close()
    assert "llmrouter-client" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(RuntimeError, match="closed"):
        client.models()
