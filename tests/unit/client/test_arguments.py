"""Arguments that fit no field: each is told by name, value and what is expected."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.client.fake_gateway import FakeGateway, serving_in_thread

from llmrouter_client import AsyncClient, Client, LlmrouterError, Message
from llmrouter_client.requests import request_from


def told(work):
    with pytest.raises(LlmrouterError) as refused:
        work()
    assert refused.value.reason == "INVALID_ARGUMENT"
    (violation,) = refused.value.violations
    assert refused.value.message == f"{violation.field} {violation.description}"
    return refused.value.message


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": "hot"}, "sampling.temperature is 'hot'; it must be a number, 0 to 2"),
        ({"temperature": True}, "sampling.temperature is True; it must be a number, 0 to 2"),
        ({"max_tokens": 1.5}, "sampling.max_tokens is 1.5; it must be 1 to 1000000"),
        ({"n": True}, "sampling.n is True; it must be 1 to 16"),
        ({"seed": "x"}, f"sampling.seed is 'x'; it must be 0 to {2**64 - 1}"),
        ({"stop": [1]}, "sampling.stop is [1]; it must be text, or a list of texts"),
        ({"logit_bias": {"the": 1}}, "is {'the': 1}; it must be numbers by token ids"),
        ({"logit_bias": {1 << 40: 1}}, "it must be numbers by token ids"),
        ({"logprobs": "yes"}, "sampling.logprobs is 'yes'; it must be True or False"),
        ({"response_format": "json"}, "sampling.response_format is 'json'; it must be a mapping"),
        ({"response_format": {"regex": 5}}, "response_format.regex is 5; it must be text"),
        ({"raw": "no"}, "raw is 'no'; it must be True or False"),
        ({"model": 5}, "routing.model is 5; it must be text"),
        ({"strategy": ["x"]}, "routing.strategy is ['x']; it must be text"),
        ({"min_quality": "high"}, "routing.min_quality is 'high'; it must be a number, 0 to 1"),
        ({"cache": "sometimes"}, "cache.mode is 'sometimes'; it must be True, False or one of off"),
        ({"cache_ttl": "1h"}, "cache.ttl is '1h'; it must be a number of seconds"),
        ({"cache_ttl": float("nan")}, "cache.ttl is nan; it must be a number of seconds"),
        ({"priority": "urgent"}, "priority is 'urgent'; it must be one of low, normal, high"),
        ({"timeout": "5"}, "timeout is '5'; it must be a number of seconds above 0"),
        *(
            ({"timeout": wrong}, f"timeout is {wrong}; it must be a number of seconds above 0")
            for wrong in (-1, 0, float("nan"))
        ),
        ({"model": "x" * 99, "raw": "x" * 99}, "xxx…; it must be True or False"),
    ],
)
def test_an_option_of_the_wrong_type(options, sentence):
    assert sentence in told(lambda: request_from("hi", options))


@pytest.mark.parametrize(
    ("prompt", "options", "sentence"),
    [
        (5, {}, "prompt is 5; it must be a string or a list of Message"),
        (None, {}, "prompt is None; it must be a string or a list of Message"),
        (b"hi", {}, "prompt is b'hi'; it must be a string or a list of Message"),
        ([5], {}, "chat.messages[0] is a int; it must be a Message"),
        ([Message("user", 5)], {}, "chat.messages[0].content is 5; it must be text"),
        ([Message("robot", "hi")], {}, "chat.messages[0].role is 'robot'; it must be one of sys"),
        ([Message("user", "hi")], {"raw": True}, "prompt is a list of messages; with raw=True it"),
    ],
)
def test_a_question_of_the_wrong_type(prompt, options, sentence):
    assert sentence in told(lambda: request_from(prompt, options))


@pytest.mark.parametrize(
    ("address", "more", "sentence"),
    [
        ("", {}, "address is ''; it must be host:port with a port of 1 to 65535"),
        (5, {}, "address is 5; it must be host:port"),
        ("nonsense", {}, "address is 'nonsense'; it must be host:port"),
        ("http://here:1", {}, "it must be host:port"),
        ("here:0", {}, "it must be host:port"),
        ("here:70000", {}, "it must be host:port"),
        ("::1:5", {}, "it must be host:port"),
        ("here:1", {"timeout": "5"}, "timeout is '5'; it must be a number of seconds above 0"),
        ("here:1", {"retries": -1}, "retries is -1; it must be a whole number of at least 0"),
        ("here:1", {"retries": "2"}, "retries is '2'; it must be a whole number of at least 0"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_of_nowhere(kind, address, more, sentence):
    assert sentence in told(lambda: kind(address, **more))


@pytest.mark.parametrize("address", ["here:1", "127.0.0.1:65535", "[::1]:5", "a-b.c_d:80"])
def test_addresses_that_can_be(address):
    AsyncClient(address)


@pytest.mark.parametrize(
    ("arguments", "more", "sentence"),
    [
        (5, {}, "texts is 5; it must be text, or a list of texts"),
        (["a", 5], {}, "texts[1] is 5; it must be text"),
        (["\ud800"], {}, "texts[0] is not UTF-8 text"),
        ("a", {"model": 5}, "routing.model is 5; it must be text"),
        ("a", {"truncate": "yes"}, "truncate is 'yes'; it must be True or False"),
        ("a", {"timeout": "5"}, "timeout is '5'; it must be a number of seconds above 0"),
    ],
)
def test_texts_of_the_wrong_type(arguments, more, sentence):
    with Client("127.0.0.1:1") as client:
        assert sentence in told(lambda: client.embed(arguments, **more))


def test_numbers_of_other_libraries_are_numbers():
    options = {"temperature": np.float32(0.5), "max_tokens": np.int64(3), "seed": np.uint64(7)}
    sampling = request_from("hi", options).sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.seed) == (0.5, 3, 7)


def test_a_wrong_argument_leaves_the_client_usable():
    with serving_in_thread(FakeGateway()) as address, Client(address) as client:
        assert "prompt is 5" in told(lambda: client.generate(5))
        assert client.generate("hi").text
