"""Statistics move with evidence, fade back to what was believed, and stay bounded."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.selector.statistics import (
    DecayedMean,
    ModelStatistics,
    Observation,
    Priors,
    StatisticsBook,
)


def test_an_observation_counts_half_after_a_half_life():
    mean = DecayedMean(half_life=10)
    mean.add(1.0, now=0)
    mean.add(0.0, now=10)
    assert mean.observed() == pytest.approx(0.5 / 1.5)


def test_what_is_believed_starts_at_the_prior_moves_with_evidence_and_fades_back():
    mean = DecayedMean(half_life=10)
    assert mean.observed() is None
    assert mean.believed(0, prior=4.0, prior_weight=2) == 4.0
    for _ in range(100):
        mean.add(1.0, now=0)
    assert mean.believed(0, prior=4.0, prior_weight=2) < 1.1
    assert mean.believed(1000, prior=4.0, prior_weight=2) == pytest.approx(4.0)


def test_a_clock_that_goes_back_does_not_raise_old_evidence():
    mean = DecayedMean(half_life=10)
    mean.add(1.0, now=100)
    mean.add(3.0, now=0)
    assert mean.observed() == pytest.approx(2.0)
    assert math.isfinite(mean.believed(0, 1.0, 1.0))


def test_failures_raise_the_error_rate_and_faults_of_the_caller_do_not():
    statistics = ModelStatistics(half_life=100)
    for _ in range(5):
        statistics.observe(Observation(counts=False), now=0)
    assert statistics.error_rate(0) == 0
    statistics.observe(Observation(failed=True), now=0)
    assert statistics.error_rate(0) == pytest.approx(1 / 3)
    assert (statistics.attempts, statistics.failures) == (6, 1)


def test_measurements_without_meaning_are_ignored():
    statistics = ModelStatistics(half_life=100)
    for value in (0.0, -1.0, math.nan, math.inf):
        observation = Observation(
            time_to_first_token=value, seconds_per_token=value, prompt_tokens=9
        )
        statistics.observe(observation, now=0)
    assert statistics.observed_time_to_first_token() is None
    assert statistics.observed_tokens_per_second() == 0


def test_long_prompts_do_not_make_a_model_look_slow_to_short_ones():
    statistics = ModelStatistics(half_life=100)
    for _ in range(1000):
        statistics.observe(Observation(time_to_first_token=8.0, prompt_tokens=4000), now=0)
    assert statistics.time_to_first_token(0, 4000) == pytest.approx(8.0, rel=0.01)
    assert statistics.time_to_first_token(0, 40) < 0.3
    assert statistics.observed_time_to_first_token() == pytest.approx(8.0)


def test_the_book_forgets_the_version_unseen_for_longest():
    book = StatisticsBook(half_life=10, max_models=2)
    for version in ("a", "b", "a", "c"):
        book.observe("m", version, Observation(), now=0)
    assert len(book) == 2
    assert [book.of("m", version).attempts for version in "abc"] == [2, 0, 1]


def test_asking_about_a_version_does_not_make_the_book_grow():
    book = StatisticsBook(half_life=10)
    book.of("m", "unseen")
    assert len(book) == 0


@given(st.lists(st.tuples(st.floats(0.001, 1000), st.floats(0, 1e6)), min_size=1, max_size=50))
def test_a_mean_lies_between_the_least_and_the_greatest_observation(observations):
    mean = DecayedMean(half_life=60)
    for value, at in observations:
        mean.add(value, at)
    values = [value for value, _ in observations]
    assert min(values) * (1 - 1e-9) <= mean.observed() <= max(values) * (1 + 1e-9)
    believed = mean.believed(1e6, prior=1.0, prior_weight=2)
    assert min([*values, 1.0]) * (1 - 1e-9) <= believed <= max([*values, 1.0]) * (1 + 1e-9)


def test_a_model_measured_where_it_runs_is_believed_to_be_as_fast_until_it_is_observed():
    statistics = ModelStatistics(half_life=100)
    measured = Priors.measured(prefill_rate=1000.0, decode_rate=50.0)
    assert statistics.seconds_per_token(0, measured) == pytest.approx(1 / 50)
    long, short = (statistics.time_to_first_token(0, length, measured) for length in (936, 436))
    assert (long, short) == (pytest.approx(1.0), pytest.approx(0.5))
    for _ in range(100):
        statistics.observe(Observation(seconds_per_token=0.1), now=0)
    assert statistics.seconds_per_token(0, measured) > 0.09


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_a_speed_without_meaning_is_not_believed(rate):
    assert Priors.measured(rate, 50.0) == PRIORS
    assert Priors.measured(1000.0, rate) == PRIORS
