"""The virtual cluster against what can be reckoned by hand."""

import itertools

import pytest
from tests.benchmarks.scale_world import (
    Job,
    Kind,
    Law,
    VirtualCluster,
    jobs_of,
    rate_at,
    spread,
    summary,
)

ONE = (Kind("paced"),)
LAW = Law(overhead=0.1, prefill=0.001, step=0.01, row=0.005, slots=2)


def run(jobs, engines=1, law=LAW, strategy="balanced"):
    return [job.ended for job in VirtualCluster(ONE, [engines], law, strategy).run(jobs)]


def test_a_lone_answer_takes_prefill_steps_and_what_is_around_it():
    assert run([Job(0.0, 100, 10)]) == [pytest.approx(0.1 + 0.1 + 10 * 0.01)]


def test_two_at_once_slow_each_other_down_until_one_has_ended():
    # Both take 10 steps of 15 ms; the second has 10 more, alone.
    ends = run([Job(0.0, 0, 10), Job(0.0, 0, 20)])
    assert ends == [pytest.approx(0.1 + 0.15), pytest.approx(0.1 + 0.15 + 0.1)]


def test_a_third_waits_for_a_slot():
    ends = run([Job(0.0, 0, 10), Job(0.0, 0, 10), Job(0.0, 0, 10)])
    assert ends == [pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25 + 0.1)]


def test_one_that_comes_in_the_middle_slows_the_rest_down():
    # After 50 ms alone 5 steps are left: those take 15 ms each.
    first, second = run([Job(0.0, 0, 10), Job(0.05, 0, 10)])
    assert first == pytest.approx(0.1 + 0.05 + 5 * 0.015)
    assert second == pytest.approx(first + 5 * 0.01)


def test_answers_that_fill_two_engines_are_spread_over_both():
    ends = run([Job(0.01 * number, 0, 10) for number in range(4)], engines=2)
    assert max(ends) < 0.1 + 0.03 + 10 * 0.015 + 0.001


def test_half_of_all_slots_are_busy_at_half_of_the_load():
    sizes = [(float(number), 50, 20) for number in range(100)]
    law = Law(0.0, 0.001, 0.01, 0.0, 10)
    rate = rate_at(0.5, [law] * 4, sizes)
    told = summary(VirtualCluster(ONE, [4], law, "balanced").run(jobs_of(sizes, rate, 2000)))
    busy = told["answers_per_second"] * law.service(50, 20, 1) / 40
    assert busy == pytest.approx(0.5, rel=0.05)
    assert told["p95_seconds"] == pytest.approx(0.25, rel=0.05)


def test_the_rate_of_the_first_answers_is_told_beside_that_of_all():
    jobs = [Job(2.0, 0, 10) for _ in range(10)]
    for number, job in enumerate(jobs):
        job.ended = 3.0 + number if number < 8 else 22.0
    told = summary(jobs)
    assert told["answers_per_second"] == pytest.approx(8 / 8)
    assert told["all_per_second"] == pytest.approx(10 / 20)


def test_a_trace_keeps_its_rhythm_and_takes_the_rate_that_is_asked_for():
    jobs = jobs_of([(5.0, 1, 1), (6.0, 2, 2), (9.0, 3, 3)], rate=10, count=7)
    assert [job.prompt for job in jobs] == [1, 2, 3, 1, 2, 3, 1]
    gaps = [later.at - job.at for job, later in itertools.pairwise(jobs)]
    assert gaps[1] == pytest.approx(3 * gaps[0])
    assert jobs[6].at == pytest.approx(0.6)


def test_replicas_are_shared_out_by_shares():
    kinds = (Kind("a", share=0.5), Kind("b", share=0.3), Kind("c", share=0.2))
    assert [spread(count, kinds) for count in (1, 3, 200)] == [[1, 0, 0], [1, 1, 1], [100, 60, 40]]
