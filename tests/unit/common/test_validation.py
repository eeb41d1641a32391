"""Bad input is refused by field, value and bound."""

import math
from dataclasses import replace

import pytest

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheMode,
    CacheWishes,
    FormatKind,
    GenerationRequest,
    Message,
    ResponseFormat,
    Role,
    RoutingWishes,
    SamplingOptions,
)
from llmrouter.common.replay_pace import ReplayPace
from llmrouter.common.validation import MAX_TEXT_BYTES, validate, validate_embedding
from llmrouter.common.wire_errors import to_status

GOOD = GenerationRequest(prompt="a")
TURN = Message(Role.USER, ("a",))


def sampled(**options):
    return replace(GOOD, sampling=SamplingOptions(**options))


def paced(rate, mode=CacheMode.READ):
    return replace(sampled(), cache=CacheWishes(mode, pace=ReplayPace(rate)))


def kept_for(seconds):
    return replace(sampled(), cache=CacheWishes(ttl_seconds=seconds))


def formatted(kind, text):
    return sampled(response_format=ResponseFormat(kind, text))


def routed(**options):
    return replace(GOOD, routing=RoutingWishes(**options))


BAD = [
    (GenerationRequest(), "prompt", "empty"),
    (GenerationRequest(prompt="a" * (MAX_TEXT_BYTES + 1)), "prompt", str(MAX_TEXT_BYTES)),
    (GenerationRequest(messages=(TURN,), prompt="a"), "prompt", "one of the two"),
    (GenerationRequest(messages=(TURN,) * 1001), "chat.messages", "1001"),
    (
        GenerationRequest(messages=(Message(Role.USER, ()), TURN)),
        "chat.messages[0].content",
        "0 parts",
    ),
    (GenerationRequest(messages=(Message(Role.USER, (" ", "")),)), "chat.messages", "no text"),
    (sampled(temperature=-0.1), "sampling.temperature", "-0.1"),
    (sampled(temperature=math.nan), "sampling.temperature", "nan"),
    (sampled(temperature=math.inf), "sampling.temperature", "inf"),
    (sampled(temperature=2.1), "sampling.temperature", "0 to 2"),
    (sampled(top_p=0), "sampling.top_p", "over 0 to 1"),
    (sampled(top_p=1.5), "sampling.top_p", "1.5"),
    (sampled(top_p=math.nan), "sampling.top_p", "nan"),
    (sampled(top_k=1_000_001), "sampling.top_k", "1000000"),
    (sampled(max_tokens=0), "sampling.max_tokens", "is 0"),
    (sampled(max_tokens=1_000_001), "sampling.max_tokens", "1 to 1000000"),
    (sampled(stop=("x",) * 17), "sampling.stop", "16"),
    (sampled(stop=("",)), "sampling.stop[0]", "1 to 256"),
    (sampled(stop=("x", "ä" * 129)), "sampling.stop[1]", "258"),
    (sampled(min_p=-0.1), "sampling.min_p", "-0.1"),
    (sampled(min_p=1.1), "sampling.min_p", "0 to 1"),
    (sampled(min_p=math.nan), "sampling.min_p", "nan"),
    (sampled(repetition_penalty=0), "sampling.repetition_penalty", "0.01 to 10"),
    (sampled(repetition_penalty=11), "sampling.repetition_penalty", "is 11"),
    (sampled(presence_penalty=2.1), "sampling.presence_penalty", "-2 to 2"),
    (sampled(presence_penalty=math.nan), "sampling.presence_penalty", "nan"),
    (sampled(frequency_penalty=-2.1), "sampling.frequency_penalty", "is -2.1"),
    (sampled(logit_bias=((5, 101.0),)), "sampling.logit_bias[5]", "is 101.0; it must be -100"),
    (sampled(logit_bias=((5, math.nan),)), "sampling.logit_bias[5]", "nan"),
    (sampled(logit_bias=((-1, 1.0),)), "sampling.logit_bias[-1]", "0 to 2147483647"),
    (sampled(logit_bias=((1 << 31, 1.0),)), "sampling.logit_bias[2147483648]", "0 to 2147483647"),
    (kept_for(0.5), "cache.ttl", "is 0.5 s; it must be 1 second to 365 days"),
    (kept_for(math.inf), "cache.ttl", "is inf s"),
    (paced(0.05), "cache.pace.tokens_per_second", "is 0.05; it must be 0.1 to 10000"),
    (paced(math.nan), "cache.pace.tokens_per_second", "is nan"),
    (paced(None, CacheMode.REFRESH), "cache.pace", "with the mode refresh, which reads nothing"),
    (
        sampled(logit_bias=tuple((token, 1.0) for token in range(1025))),
        "sampling.logit_bias",
        "has 1025 entries; at most 1024",
    ),
    (sampled(min_tokens=1_000_001), "sampling.min_tokens", "0 to 1000000"),
    (sampled(min_tokens=6, max_tokens=5), "sampling.min_tokens", "at most max_tokens, 5"),
    (sampled(n=0), "sampling.n", "is 0"),
    (sampled(n=17), "sampling.n", "1 to 16"),
    (sampled(logprobs=True, top_logprobs=21), "sampling.top_logprobs", "0 to 20"),
    (sampled(top_logprobs=3), "sampling.top_logprobs", "unless logprobs is true"),
    (formatted(FormatKind.JSON_SCHEMA, ""), "sampling.response_format.json_schema", "is 0 bytes"),
    (formatted(FormatKind.REGEX, "a" * 65537), "sampling.response_format.regex", "1 to 65536"),
    (formatted(FormatKind.REGEX, "é" * 32769), "sampling.response_format.regex", "is 65538 bytes"),
    (
        formatted(FormatKind.GRAMMAR, "a\0"),
        "sampling.response_format.grammar",
        "NUL character at position 1",
    ),
    (routed(model="m" * 257), "routing.model", "257"),
    (routed(strategy="s" * 65), "routing.strategy", "65"),
    (routed(min_quality=1.1), "routing.min_quality", "1.1"),
    (routed(min_quality=math.nan), "routing.min_quality", "nan"),
    (routed(max_cost=-1), "routing.max_cost", "-1"),
    (routed(max_cost=math.nan), "routing.max_cost", "nan"),
    (routed(max_latency=-1), "routing.max_latency", "-1"),
    (routed(max_latency=math.nan), "routing.max_latency", "nan"),
    (routed(max_time_to_first_token=86_401), "routing.max_time_to_first_token", "86401"),
    (routed(session="s" * 129), "routing.session", "129"),
    (routed(tags=("t",) * 17), "routing.tags", "17"),
    (routed(tags=("good", "t" * 65)), "routing.tags[1]", "65"),
    (routed(tags=("",)), "routing.tags[0]", "0"),
]


@pytest.mark.parametrize(("request_", "field", "told"), BAD)
def test_a_field_out_of_bounds_is_named_with_its_value_or_bound(request_, field, told):
    with pytest.raises(RouterError) as failure:
        validate(request_)
    assert failure.value.reason is Reason.INVALID_ARGUMENT
    [violation] = failure.value.violations
    assert violation.field == field
    assert told in violation.description


@pytest.mark.parametrize(
    "request_",
    [
        GOOD,
        GenerationRequest(messages=(TURN,)),
        sampled(temperature=0, top_p=1, top_k=1_000_000, max_tokens=1, stop=("x" * 256,) * 16),
        sampled(temperature=2, seed=2**64 - 1, max_tokens=1_000_000),
        sampled(min_p=1, repetition_penalty=0.01, presence_penalty=-2, frequency_penalty=-2, n=16),
        sampled(repetition_penalty=10, presence_penalty=2, frequency_penalty=2, min_p=0),
        sampled(min_tokens=5, max_tokens=5, logprobs=True, top_logprobs=20),
        sampled(logit_bias=tuple((token, 100.0 - 200 * (token % 2)) for token in range(1024))),
        formatted(FormatKind.JSON_OBJECT, ""),
        formatted(FormatKind.GRAMMAR, "a" * 65536),
        routed(model="m" * 256, strategy="s" * 64, min_quality=1, max_cost=0),
    ],
)
def test_a_request_on_its_bounds_is_accepted(request_):
    validate(request_)


def test_several_wrong_fields_are_told_at_once():
    with pytest.raises(RouterError) as failure:
        validate(sampled(temperature=3, top_p=0, max_tokens=0))
    assert len(failure.value.violations) == 3


def test_a_thousand_wrong_fields_still_fit_one_header():
    with pytest.raises(RouterError) as failure:
        validate(GenerationRequest(messages=(TURN, *[Message(Role.USER, ())] * 999)))
    assert "994 more" in failure.value.message
    assert len(to_status(failure.value).SerializeToString()) < 4096


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        ((), "texts"),
        (("x",) * 257, "texts"),
        (("",), "texts[0]"),
        (("x", "\n"), "texts[1]"),
        (("x" * 65537,), "texts[0]"),
        (("x" * 65536,) * 65, "texts"),
    ],
)
def test_texts_to_embed_are_counted_and_measured(texts, field):
    with pytest.raises(RouterError) as refused:
        validate_embedding(EmbeddingRequest(texts))
    assert refused.value.violations[0].field == field


def test_texts_at_their_bounds_pass():
    validate_embedding(EmbeddingRequest(("x",) * 256, model="m" * 256))
    validate_embedding(EmbeddingRequest(("x" * 65536,) * 64))
