"""A prompt's features: bounded, the same everywhere, and without its text."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrouter.common.generation import GenerationRequest, Message, Role
from llmrouter.common.prompt_features import (
    MAX_CHARACTERS,
    SHAPE,
    SKETCH_SIZE,
    VERSION,
    features_of,
    question_text,
)

PINNED_SHAPE = (
    "7300434a470e000038380028002838464f8fdb0043a70000000000007f00000000005000000000730000000000000000"
    "00"
)
PINNED_SKETCH = "bed3d574e462b75a"


def sketch(text):
    return np.frombuffer(features_of(text).sketch, np.int8).astype(float)


def shape(text):
    return dict(zip(SHAPE, features_of(text).shape, strict=True))


def cosine(one, other):
    return one @ other / (np.linalg.norm(one) * np.linalg.norm(other))


@given(st.text(max_size=300))
@settings(max_examples=200)
def test_any_text_becomes_the_same_few_bytes(text):
    found = features_of(text)

    assert len(found.shape) == len(SHAPE)
    assert len(found.sketch) == SKETCH_SIZE
    assert -128 not in np.frombuffer(found.sketch, np.int8)
    assert found == features_of(text)
    assert found.version == VERSION


def test_a_request_carries_less_than_600_bytes_of_features():
    found = features_of("What is the capital of France?" * 1000)

    assert len(found.shape) + len(found.sketch) < 600


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\x00", "\ud800", "🙂" * 10, "__", "٣٤", "²"])
def test_odd_texts_have_features(text):
    assert len(features_of(text).shape) == len(SHAPE)


@pytest.mark.parametrize(
    "text",
    [" " * 200_000, "a:" * 100_000, "\\" * 100_000, "$" * 99_999, "{ " * 90_000, "9," * 90_000],
)
def test_hostile_texts_cost_no_more_than_their_first_and_last_characters(text):
    assert features_of(text) == features_of(
        text[: MAX_CHARACTERS // 2] + text[-MAX_CHARACTERS // 2 :]
    )


def test_texts_that_share_words_are_alike_and_others_are_not():
    one = sketch("Which organ of the human body produces insulin and glucagon?")
    near = sketch("Does the human pancreas produce insulin, or which organ of the body?")
    far = sketch("Factorise x squared minus nine over the integers, step by step.")

    assert cosine(one, near) > 0.5
    assert cosine(one, far) < 0.3


def test_the_order_of_words_is_not_in_the_sketch():
    assert features_of("one two three").sketch == features_of("three one two").sketch


def test_the_shape_tells_what_a_text_is_made_of():
    code = shape("Write a function.\n```python\ndef add(a, b):\n    return a + b\n```")
    sums = shape("What is 12 * (34 + 56)?")
    choice = shape("Which is a mammal?\nA. shark\nB. whale\nC. trout\nAnswer:")

    assert code["code"] > sums["code"] == 0
    assert sums["operators"] > choice["operators"]
    assert sums["ends_asking"] == 255
    assert choice["ends_open"] == 255
    assert choice["choices"] > 0 == sums["choices"]
    assert choice["which"] > 0 == code["which"]


def test_the_features_of_a_version_do_not_change():
    found = features_of("What is 2 + 2? Explain why, step by step.")

    assert found.shape.hex() == PINNED_SHAPE
    assert hashlib.blake2b(found.sketch, digest_size=8).hexdigest() == PINNED_SKETCH


def test_what_is_read_is_the_last_turn_of_the_user():
    turns = (
        Message(Role.SYSTEM, ("be brief",)),
        Message(Role.USER, ("first",)),
        Message(Role.ASSISTANT, ("answer",)),
        Message(Role.USER, ("second ", "part")),
    )

    assert question_text(GenerationRequest(messages=turns)) == "second part"
    assert question_text(GenerationRequest(messages=turns[:1])) == "be brief"
    assert question_text(GenerationRequest(prompt="raw")) == "raw"
