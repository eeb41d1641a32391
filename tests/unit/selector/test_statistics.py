"""Statistics move with evidence, fade back to what was believed, and stay bounded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.selector.building import answered, failed

from llmrouter.common.generation import Usage
from llmrouter.selector.evidence import EvidenceTable, Measure, prior_belief
from llmrouter.selector.recent import RecentCounts
from llmrouter.selector.sketch import ACCURACY, TimeSketch
from llmrouter.selector.statistics import Observation, StatisticsBook

KEY = ("m", "v", "host:1")
VERSION = ("m", "v", "")


def believed(table, measure, prior, now=0.0, key=KEY):
    evidence = table.read(np.array([table.row(key)]), now)
    priors = np.full((len(Measure), 1), prior)
    return float(evidence.believed(prior_belief(priors))[measure, 0])


def only(measure, value):
    return [value if one is measure else None for one in Measure]


def test_what_is_believed_starts_at_the_prior_moves_with_evidence_and_fades_back():
    table = EvidenceTable(half_life=10)
    assert believed(table, Measure.PER_TOKEN, prior=4.0) == 4.0
    for _ in range(100):
        table.add(KEY, only(Measure.PER_TOKEN, 1.0), now=0)
    assert believed(table, Measure.PER_TOKEN, prior=4.0) < 1.1
    assert believed(table, Measure.PER_TOKEN, prior=4.0, now=1000) == pytest.approx(4.0)


def test_an_observation_counts_half_after_a_half_life():
    table = EvidenceTable(half_life=10)
    table.add(KEY, only(Measure.ERROR, 1.0), now=0)
    table.add(KEY, only(Measure.ERROR, 0.0), now=10)
    assert believed(table, Measure.ERROR, prior=0.0, now=10) == pytest.approx(0.5 / 3.5)


def test_under_much_traffic_evidence_follows_the_last_observations_however_short_the_time():
    table = EvidenceTable(half_life=1e9)
    for value in (1.0, 3.0):
        for _ in range(1000):
            table.add(KEY, only(Measure.PER_TOKEN, value), now=0)
    assert believed(table, Measure.PER_TOKEN, prior=3.0) > 2.99
    table.add(KEY, only(Measure.ERROR, 1.0), now=0)
    assert believed(table, Measure.ERROR, prior=0.0) == pytest.approx(1 / 3)


def test_a_clock_that_goes_back_does_not_raise_old_evidence():
    table = EvidenceTable(half_life=10)
    table.add(KEY, only(Measure.ERROR, 1.0), now=100)
    table.add(KEY, only(Measure.ERROR, 1.0), now=0)
    assert believed(table, Measure.ERROR, prior=0.0, now=0) == pytest.approx(2 / 4)
    assert believed(table, Measure.ERROR, prior=0.0, now=110) == pytest.approx(1 / 3)


def test_the_spread_of_steady_times_is_none_and_that_of_unsteady_ones_is_theirs():
    table = EvidenceTable(half_life=100)
    for number in range(1000):
        table.add(KEY, only(Measure.PER_TOKEN, 0.01), now=0)
        table.add(("m", "v", "2"), only(Measure.PER_TOKEN, 0.005 + 0.01 * (number % 2)), now=0)
    rows = table.rows([KEY, ("m", "v", "2"), ("never", "", "")])
    evidence, prior = table.read(rows, 0.0), prior_belief(np.full((len(Measure), 3), 0.01))
    spread = evidence.spread(evidence.believed(prior), prior)[Measure.PER_TOKEN]
    assert spread.tolist() == pytest.approx([0.0, 0.005, 0.0], abs=2e-4)


def test_forgetting_a_measure_leaves_the_others():
    table = EvidenceTable(half_life=100)
    table.add(KEY, (1.0, 0.5, 3.0), now=0)
    table.forget(KEY, Measure.ERROR)
    assert believed(table, Measure.ERROR, prior=0.0) == 0
    assert believed(table, Measure.PER_TOKEN, prior=6.0) == pytest.approx(5.0)
    table.forget(("never", "", ""), Measure.ERROR)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.floats(0.001, 1000), st.floats(0, 1e6)),
        min_size=1,
        max_size=60,
    )
)
def test_a_belief_lies_between_the_least_and_the_greatest_observation_in_few_rows(observations):
    table, seen = EvidenceTable(half_life=60, most=4), {}
    for name, value, at in observations:
        key = (name, "v", "")
        lost = table.add(key, only(Measure.PER_TOKEN, value), at)
        if lost is not None:
            del seen[lost]
        seen.setdefault(key, []).append(value)
        assert len(table) == len(seen) <= 4
    for key, values in seen.items():
        told = believed(table, Measure.PER_TOKEN, prior=1.0, now=1e6, key=key)
        assert min([*values, 1.0]) * (1 - 1e-9) <= told <= max([*values, 1.0]) * (1 + 1e-9)


def test_failures_raise_the_error_rate_of_version_and_endpoint_and_faults_of_callers_do_not():
    book = StatisticsBook(half_life=100)
    for _ in range(5):
        book.observe(KEY, Observation(error_reason="CANCELLED", counts=False), now=0)
    assert book.error_rate(KEY, 0) == 0
    book.observe(KEY, failed("INTERNAL"), now=0)
    for key in (KEY, VERSION):
        assert book.error_rate(key, 0) == pytest.approx(1 / 3)
        seen = book.seen(key)
        assert (seen.attempts, seen.failures) == (6, 1)
        assert seen.errors == {"CANCELLED": 5, "INTERNAL": 1}


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_measurements_without_meaning_are_ignored(value):
    book = StatisticsBook(half_life=100)
    book.observe(KEY, answered(first=value, per_token=value), now=0)
    assert believed(book.evidence, Measure.PER_TOKEN, prior=7.0) == 7.0
    assert believed(book.evidence, Measure.PREFILL, prior=7.0) == 7.0


def test_waiting_for_a_slot_makes_a_model_look_no_slower_than_it_is():
    book, calm = StatisticsBook(half_life=100), StatisticsBook(half_life=100)
    for _ in range(10):
        book.observe(KEY, answered(first=2.1, queue_seconds=2.0), now=0)
        calm.observe(KEY, answered(first=0.1), now=0)
    paces = [believed(one.evidence, Measure.PREFILL, prior=0.001) for one in (book, calm)]
    assert paces[0] == pytest.approx(paces[1])


def test_waiting_in_vain_makes_a_model_look_as_slow_as_that_and_giving_up_soon_does_not():
    hangs, quick = StatisticsBook(half_life=100), StatisticsBook(half_life=100)
    for _ in range(20):
        given_up = {"error_reason": "CANCELLED", "counts": False, "prompt_bytes": 200}
        hangs.observe(KEY, Observation(waited=30.0, **given_up), now=0)
        quick.observe(KEY, Observation(waited=0.001, **given_up), now=0)
    prior = 0.001
    pace = believed(hangs.evidence, Measure.PREFILL, prior)
    assert pace * (50 + 64) == pytest.approx(30, rel=0.15)
    assert believed(quick.evidence, Measure.PREFILL, prior) == prior
    assert hangs.error_rate(KEY, 0) == 0


def test_a_wait_in_vain_that_is_short_for_a_slow_model_makes_it_look_no_faster():
    book = StatisticsBook(half_life=300)
    slow = np.array([0.0, 10.0, 60.0])
    told = Observation(waited=60.0, prompt_bytes=400, counts=False)
    book.observe(KEY, told, now=0.0, prior=slow)
    for key in (KEY, VERSION):
        assert believed(book.evidence, Measure.PREFILL, prior=10.0, key=key) == 10.0


def test_the_book_forgets_the_version_unseen_for_longest():
    book = StatisticsBook(half_life=10, most=4)
    for version in ("a", "b", "a", "c"):
        book.observe(("m", version, "h"), answered(), now=0)
    assert len(book) == 4
    assert book.seen(("m", "a", "")).attempts == 2
    assert book.seen(("m", "b", "")) is None
    assert book.seen(("m", "b", "h")) is None


def test_asking_about_a_version_does_not_make_the_book_grow():
    book = StatisticsBook(half_life=10)
    assert book.seen(KEY) is None
    assert book.error_rate(KEY, 0) == 0
    assert len(book) == 0


@given(st.lists(st.floats(2e-4, 9e3), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_of_the_sketch_is_within_its_accuracy(times, share):
    sketch = TimeSketch(half_life=60)
    for one in times:
        sketch.add(one, now=0)
    exact = sorted(times)[max(0, math.ceil(share * len(times) - 1e-9) - 1)]
    assert sketch.quantile(share) == pytest.approx(exact, rel=ACCURACY * 1.1)


def test_old_times_fade_from_the_sketch_also_after_very_long():
    sketch = TimeSketch(half_life=10)
    for _ in range(100):
        sketch.add(5.0, now=0)
    sketch.add(0.1, now=100)
    assert sketch.quantile(0.5) == pytest.approx(0.1, rel=ACCURACY)
    for now in (1e3, 1e5, 1e9, 0.0):
        sketch.add(0.2, now=now)
        known = sketch.distribution(now)
        assert known.median == pytest.approx(0.2, rel=ACCURACY)
        assert 0.9 < known.evidence < 3
        assert math.isfinite(known.mean)


def test_a_distribution_tells_how_uncertain_its_mean_is():
    sketch = TimeSketch(half_life=10)
    assert sketch.distribution(0) is None
    for number in range(100):
        sketch.add(1.0 + (number % 2), now=0)
    known = sketch.distribution(0)
    assert known.mean == pytest.approx(1.5)
    assert known.error == pytest.approx(0.05)
    assert sketch.distribution(20).error == pytest.approx(0.1)
    assert sketch.distribution(20).evidence == pytest.approx(25)


def test_what_happened_more_than_a_minute_ago_is_not_recent():
    counts = RecentCounts()
    for now in range(0, 300, 5):
        counts.add((1, 0, 10, 0.5), now)
    assert counts.total(295).attempts == 12
    assert counts.total(325).attempts == 6
    assert counts.total(1000) == (0, 0, 0, 0)
    assert len(counts._buckets) <= 13


@pytest.mark.parametrize("known", [0, 100])
def test_one_report_of_a_day_keeps_no_model_away(known):
    book, other = StatisticsBook(half_life=300), StatisticsBook(half_life=300)
    for number in range(known):
        for one in (book, other):
            one.observe(KEY, answered(first=0.2, per_token=0.02), now=float(number))
    day = 86_400.0
    book.observe(KEY, answered(first=day, per_token=day), now=100.0)
    prior = 0.02
    believed_now = believed(book.evidence, Measure.PER_TOKEN, prior=prior)
    assert believed_now < (2 if known else 11) * prior
    assert book.seen(KEY).per_token.distribution(100.0).p99 < 1
    assert book.seen(KEY).first.distribution(100.0).p99 < 10
    # A good answer a minute brings it back within ten minutes.
    for minute in range(1, 11):
        book.observe(KEY, answered(first=0.2, per_token=0.02), now=100.0 + 60 * minute)
    assert believed(book.evidence, Measure.PER_TOKEN, prior=prior) < 2 * prior


@pytest.mark.parametrize(
    ("first", "queued", "most"),
    [
        (3600.2, 3600.0, 1.01),
        (3600.0, 3600.0, 1.01),
        (86_400.0, 3600.0, 1.5),
        (86_400.0, 86_000, 1.5),
    ],
)
def test_however_long_a_queue_its_time_is_none_of_the_pace(first, queued, most):
    book = StatisticsBook(half_life=300)
    for number in range(100):
        book.observe(KEY, answered(first=0.2, per_token=0.02), now=float(number))
    before = believed(book.evidence, Measure.PREFILL, prior=0.0012)
    book.observe(KEY, answered(first=first, per_token=0.02, queue_seconds=queued), now=100.0)
    assert believed(book.evidence, Measure.PREFILL, prior=0.0012) < most * before


def test_waiting_in_vain_counts_no_more_for_a_prompt_that_is_said_to_be_long():
    book = StatisticsBook(half_life=300)
    for number in range(100):
        book.observe(KEY, answered(first=0.2, per_token=0.02), now=float(number))
    before = believed(book.evidence, Measure.PREFILL, prior=0.0012)
    told = Observation(waited=86_400.0, usage=Usage(100_000, 0), prompt_bytes=4, counts=False)
    book.observe(KEY, told, now=100.0)
    assert before < believed(book.evidence, Measure.PREFILL, prior=0.0012) < 1.5 * before


def test_a_model_that_has_become_a_thousand_times_slower_is_known_to_within_a_few_reports():
    book = StatisticsBook(half_life=300)
    for number in range(100):
        book.observe(KEY, answered(first=0.2, per_token=0.02), now=float(number))
    for number in range(10):
        book.observe(KEY, answered(first=200.0, per_token=20.0), now=101.0 + number)
    assert believed(book.evidence, Measure.PER_TOKEN, prior=0.02) > 0.2


def test_what_is_believed_of_a_slow_model_beforehand_is_what_its_reports_are_held_to():
    book = StatisticsBook(half_life=300)
    slow = np.array([0.0, 10.0, 60.0])
    book.observe(KEY, answered(first=0.2, per_token=90.0), now=0.0, prior=slow)
    assert believed(book.evidence, Measure.PER_TOKEN, prior=60.0) == 70.0
