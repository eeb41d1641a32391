"""When an answer of a cheap model is kept."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.generation import FinishReason
from llmrouter.gateway.cascade import CascadePolicy, confidence, judge

logprobs = st.lists(st.floats(-50, 0), min_size=1, max_size=40)


def test_one_unsure_token_among_many_sure_ones_is_seen():
    answer = [0.0] * 8 + [math.log(0.2)]

    assert confidence(answer, quantile=0.0) == pytest.approx(0.2)
    assert confidence(answer, quantile=0.5) == 1


@given(logprobs, st.floats(0, 1))
def test_confidence_lies_between_the_least_and_the_most_likely_token(answer, quantile):
    found = confidence(answer, quantile)

    assert math.exp(min(answer)) - 1e-12 <= found <= math.exp(max(answer)) + 1e-12


@given(logprobs, st.floats(0, 1), st.integers(1, 3))
def test_neither_order_nor_repetition_of_all_tokens_at_the_ends_changes_it(answer, quantile, times):
    assert confidence(answer[::-1], quantile) == confidence(answer, quantile)
    assert confidence(answer * times, 0.0) == confidence(answer, 0.0)


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


@pytest.mark.parametrize(("answer", "quantile"), [([math.nan], 0.1), ([0.0], -0.1), ([0.0], 1.5)])
def test_what_is_not_a_number_or_a_quantile_is_refused(answer, quantile):
    with pytest.raises(ValueError, match="not"):
        confidence(answer, quantile)


def test_a_positive_log_probability_that_rounding_made_counts_as_certainty():
    assert confidence([1e-7]) == 1
