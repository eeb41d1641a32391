"""When an answer of a cheap model is kept."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.generation import FinishReason
from llmrouter.gateway.cascade import CascadePolicy, confidence, judge

logprobs = st.lists(st.floats(-50, 0), min_size=1, max_size=40)


def test_unsure_tokens_are_seen_among_however_many_sure_ones_and_one_is_spared():
    answer = [0.0] * 80 + [math.log(0.2), math.log(0.5)]

    assert confidence(answer) == pytest.approx(0.5)
    assert confidence(answer, spared=0) == pytest.approx(0.2)
    assert confidence(answer, spared=2) == 1


@pytest.mark.parametrize(("tokens", "found"), [(1, 0.2), (4, 0.2), (5, 0.5), (9, 0.5)])
def test_of_a_short_answer_no_token_is_spared(tokens, found):
    answer = [math.log(0.2), math.log(0.5), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0][:tokens]

    assert confidence(answer, spared=9) == pytest.approx(found)


@given(logprobs, st.integers(0, 50))
def test_confidence_lies_between_the_least_and_the_most_likely_token(answer, spared):
    found = confidence(answer, spared)

    assert math.exp(min(answer)) - 1e-12 <= found <= math.exp(max(answer)) + 1e-12


@given(logprobs, st.integers(0, 50))
def test_neither_order_nor_one_more_sure_token_make_an_answer_surer(answer, spared):
    assert confidence(answer[::-1], spared) == confidence(answer, spared)
    assert confidence([*answer, 0.0], 0) == confidence(answer, 0)


@given(logprobs, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_keeps_more(answer, one, other):
    low, high = sorted((one, other))

    if judge(answer, FinishReason.STOP, CascadePolicy(threshold=low)).escalate:
        assert judge(answer, FinishReason.STOP, CascadePolicy(threshold=high)).escalate


def test_a_threshold_of_0_keeps_everything_but_an_empty_answer():
    policy = CascadePolicy(threshold=0)

    assert not judge([-40.0], FinishReason.STOP, policy).escalate
    assert judge([], FinishReason.STOP, policy).escalate


def test_nobody_is_asked_for_a_caller_who_left():
    assert not judge([], FinishReason.CANCELLED, CascadePolicy()).escalate


def test_what_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="not"):
        confidence([math.nan, 0.0])


def test_a_positive_log_probability_that_rounding_made_counts_as_certainty():
    assert confidence([1e-7]) == 1
