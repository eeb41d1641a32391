"""What a request asks of a model beyond what every model can."""

import pytest

from llmrouter.common.capabilities import SAMPLING, needed
from llmrouter.common.generation import (
    FormatKind,
    GenerationRequest,
    Message,
    ResponseFormat,
    Role,
    SamplingOptions,
)

CHAT = (Message(Role.USER, ("hi",)),)
ASKING = {
    "logit_bias": {"logit_bias": ((3, 1.0),)},
    "logprobs": {"logprobs": True},
    "min_p": {"min_p": 0.1},
    "min_tokens": {"min_tokens": 2},
    "n": {"n": 2},
    "penalties": {"frequency_penalty": 0.5},
    "seed": {"seed": 7},
    "structured_output": {"response_format": ResponseFormat(FormatKind.REGEX, "a")},
}


def test_every_capability_of_drawing_can_be_asked_for():
    assert set(ASKING) == SAMPLING


def test_a_plain_request_needs_its_kind_alone():
    assert needed(GenerationRequest(prompt="hi")) == {"completion"}
    plain = SamplingOptions(temperature=0.5, top_k=4, top_p=0.9, max_tokens=9, stop=("x",))
    assert needed(GenerationRequest(messages=CHAT, sampling=plain)) == {"chat"}


@pytest.mark.parametrize("name", sorted(ASKING))
def test_an_option_that_not_every_engine_honours_is_asked_for(name):
    asked = GenerationRequest(messages=CHAT, sampling=SamplingOptions(**ASKING[name]))
    assert needed(asked) == {"chat", name}


def test_a_seed_changes_nothing_where_nothing_is_drawn():
    greedy = SamplingOptions(temperature=0.0, seed=7)
    assert needed(GenerationRequest(prompt="hi", sampling=greedy)) == {"completion"}
