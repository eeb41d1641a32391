"""How long the second model of a plan waits for the first, by what was learned of that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.selector.building import LARGE, SMALL, answered, request_of, selector_of, served

from llmrouter.common.ensemble import EnsembleWish
from llmrouter.selector.hedging import hedge_delay
from llmrouter.selector.messages import encode_plan
from llmrouter.selector.sketch import ACCURACY, TimeSketch
from llmrouter.selector.strategy_settings import HedgingSettings

BOTH = served("small"), served("large")


def selector(times=(), **settings):
    """A selector that saw the small model begin after these seconds."""
    one = selector_of(BOTH, catalog=(SMALL, LARGE), **settings)
    for seconds in times:
        plan_id, _ = one.select(request_of(model="small"))
        key = ("small", "v1", "host:1")
        one.report(plan_id, [(key, answered(first=seconds))])
    return one


def plan_of(one, **wishes):
    _, plan = one.select(request_of(**{"strategy": "speed-priority", **wishes}))
    assert plan.candidates[0].model == "small"
    return plan


USUAL = [0.1] * 90 + [0.9] * 10


def test_it_is_the_time_by_which_most_first_tokens_have_come():
    plan = plan_of(selector(USUAL))
    assert plan.hedge_after == pytest.approx(0.9, rel=3 * ACCURACY)
    assert encode_plan(plan, "p", "v").hedge_after.ToSeconds() == 0
    assert encode_plan(plan, "p", "v").HasField("hedge_after")


def test_little_is_known_at_first_and_then_nobody_is_hedged():
    assert plan_of(selector()).hedge_after is None
    assert plan_of(selector(USUAL[:19])).hedge_after is None
    assert plan_of(selector(USUAL[:30])).hedge_after is not None


def test_only_strategies_that_say_so_hedge():
    one = selector(USUAL, strategies={"mine": {"weights": {"speed": 1}, "hedged": True}})
    assert plan_of(one, strategy="least-loaded", model="small").hedge_after is None
    assert plan_of(one, strategy="mine").hedge_after is not None


def test_it_can_be_turned_off():
    assert plan_of(selector(USUAL, hedging=None)).hedge_after is None


def test_nobody_is_hedged_where_nobody_else_may_answer():
    assert plan_of(selector(USUAL), model="small").hedge_after is None


def test_both_together_stay_below_the_callers_ceiling():
    one = selector(USUAL)
    costs = [one.estimated_cost for one in plan_of(one).candidates]
    assert plan_of(one, max_cost=sum(costs) * 1.01).hedge_after is not None
    assert plan_of(one, max_cost=max(costs) * 1.001).hedge_after is None


def test_several_that_are_asked_at_once_are_not_hedged():
    one = selector(USUAL)
    _, plan = one.select(request_of(strategy="speed-priority", ensemble=EnsembleWish(2)))
    assert plan.hedge_after is None


def test_a_long_prompt_is_waited_for_in_proportion():
    one = selector(USUAL)
    assert plan_of(one, prompt_bytes=20_000).hedge_after > 2 * plan_of(one).hedge_after


def test_a_past_choice_tells_it_again():
    one = selector(USUAL)
    plan_id, plan = one.select(request_of(strategy="speed-priority"))
    assert one.decision(plan_id).plan_again().hedge_after == plan.hedge_after


TIMES = st.lists(st.floats(0.001, 100), min_size=20, max_size=60)


@given(TIMES, st.floats(0, 100), st.floats(0.5, 0.99), st.floats(0, 5))
def test_it_is_never_sooner_than_the_quantile_nor_the_least(times, expected, quantile, least):
    sketch = TimeSketch(60)
    for seconds in times:
        sketch.add(seconds, 0.0)
    settings = HedgingSettings(quantile=quantile, least_seconds=least)
    delay = hedge_delay(sketch, expected, settings, 0.0)
    assert delay >= least
    assert delay >= sketch.quantile(quantile)
    assert delay >= expected
    assert hedge_delay(sketch, expected, settings, 3600.0) is None  # known too long ago
