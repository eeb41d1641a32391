"""Endpoints whose circuit breaker is half open: few requests probe them, whatever others do."""

from __future__ import annotations

import pytest
from tests.unit.selector.building import (
    Clock,
    answered,
    entry,
    failed,
    order,
    request_of,
    selector_of,
    served,
    why,
)

GOOD = entry("good", quality=0.9, input_price=3, output_price=3)
BAD = entry("bad", quality=0.5, input_price=2, output_price=2)
OTHER = entry("other", quality=0.4, input_price=1, output_price=1)
ENDPOINT = ("bad", "v1", "host:1")


def half_open(held, **settings):
    """A selector of these models, of which `bad` at host:1 is to be probed."""
    clock = Clock()
    one = selector_of(held, clock, catalog=(GOOD, BAD, OTHER), **settings)
    for number in range(5):
        plan_id, _ = one.select(request_of(request_id=f"f{number}", model="bad"))
        one.report(plan_id, [(ENDPOINT, failed())])
    clock.now += 61
    return one


def plans(one, count=20, **request):
    return [one.select(request_of(request_id=f"r{n}", **request))[1] for n in range(count)]


def test_a_probed_model_stands_in_for_nobody():
    one = half_open([served(name) for name in ("good", "bad", "other")])
    for plan in plans(one, strategy="quality-first"):
        assert order(plan) == ["good", "other"]
        assert "probed" in why(plan)["bad"]


def test_a_probed_replica_stands_behind_no_other_replica():
    one = half_open([served("bad", address="host:1"), served("bad", address="host:2")])
    found = [[one.address for one in plan.candidates] for plan in plans(one, model="bad")]
    # One plan at most has it first: a probe whose outcome is not known yet keeps the others away.
    assert sum("host:1" in addresses for addresses in found) <= 1


def test_no_stage_of_a_cascade_but_the_first_is_probed():
    held = [
        served(name, capabilities=frozenset({"chat", "completion", "logprobs"}))
        for name in ("good", "bad", "other")
    ]
    one = half_open(held)
    assert order(plans(one, 1, strategy="cascade")[0]) == ["other", "good"]


def test_it_is_probed_where_it_comes_first_and_then_closes():
    one = half_open([served("bad")])
    for number in range(3):
        plan_id, plan = one.select(request_of(request_id=f"p{number}"))
        assert order(plan) == ["bad"]
        one.report(plan_id, [(ENDPOINT, answered())])
    assert not list(one.breakers.troubled())


@pytest.mark.parametrize("strategy", ["balanced", "random", "round-robin", "least-loaded"])
def test_a_choice_around_a_probed_model_is_made_again_exactly(strategy):
    one = half_open([served(name) for name in ("good", "bad", "other")])
    for number in range(5):
        plan_id, plan = one.select(request_of(request_id=f"x{number}", strategy=strategy))
        assert one.decision(plan_id).plan_again() == plan
