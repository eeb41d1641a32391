"""Tries beyond a plan: how long they wait, and that their budget holds whatever fails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.doubles import error

from llmrouter.common.errors import RULES, Reason, Retry
from llmrouter.gateway.retrying import (
    Backoff,
    BudgetPolicy,
    RetryBudget,
    RetryBudgets,
    Retrying,
    passes,
)

SHARES = st.floats(0, 1)
POLICIES = st.builds(
    BudgetPolicy, ratio=SHARES, per_second=st.floats(0, 50), burst=st.floats(1, 200)
)
STEPS = st.lists(st.tuples(st.sampled_from("dw"), st.floats(0, 5)), max_size=200)


@given(POLICIES, STEPS)
def test_no_span_of_time_holds_more_further_tries_than_the_budget_allows(policy, steps):
    now, budget = 100.0, RetryBudget(policy, 100.0)
    made = []
    for kind, seconds in steps:
        now += seconds
        if kind == "d":
            budget.deposit(now)
        made.append((now, kind, kind == "w" and budget.withdraw(now)))
    for begin in range(0, len(made), 7):
        span = made[begin:]
        granted = sum(one[2] for one in span)
        planned = sum(one[1] == "d" for one in span)
        seconds = span[-1][0] - (100.0 if begin == 0 else made[begin - 1][0])
        bound = policy.burst + policy.ratio * planned + policy.per_second * seconds
        assert granted <= bound + 1e-6


@given(POLICIES, st.integers(0, 300))
def test_a_storm_adds_no_more_than_the_share_of_what_was_planned(policy, count):
    budget = RetryBudget(policy, 0.0)
    granted = 0
    for _ in range(count):
        budget.deposit(0.0)
        granted += budget.withdraw(0.0)
    assert granted <= min(policy.per_second, policy.burst) + policy.ratio * count + 1e-6


def test_what_is_planned_pays_for_further_tries_and_time_does():
    budget = RetryBudget(BudgetPolicy(ratio=0.5, per_second=1, burst=10), 0.0)
    assert budget.withdraw(0.0)
    assert not budget.withdraw(0.0)
    budget.deposit(0.0)
    budget.deposit(0.0)
    assert budget.withdraw(0.0)
    assert not budget.withdraw(0.9)
    assert budget.withdraw(1.9)


def test_a_clock_that_goes_back_gives_nothing():
    budget = RetryBudget(BudgetPolicy(per_second=1, burst=1), 10.0)
    assert budget.withdraw(10.0)
    assert not budget.withdraw(0.0)
    assert not budget.withdraw(10.5)


def test_budgets_are_bounded_and_each_model_has_its_own():
    budgets = RetryBudgets(BudgetPolicy(per_second=1, burst=1), most=2)
    assert budgets.of("a", 0.0).withdraw(0.0)
    assert budgets.of("b", 0.0).withdraw(0.0)
    assert not budgets.of("a", 0.0).withdraw(0.0)
    budgets.of("c", 0.0)
    assert len(budgets) == 2
    assert not budgets.of("a", 0.0).withdraw(0.0)  # b was the one not asked for the longest


BACKOFFS = st.builds(
    Backoff, rounds=st.integers(0, 10), initial=st.floats(0.001, 1), most=st.floats(1, 60)
)


@given(BACKOFFS, st.integers(0, 2000), st.floats(0, 100), SHARES, st.none() | st.floats(0, 100))
def test_a_pause_respects_who_asks_for_one_the_deadline_and_its_bounds(
    backoff, taken, asked, draw, left
):
    pause = backoff.pause(taken, asked, left, lambda: draw)
    if taken >= backoff.rounds or asked > backoff.most:
        assert pause is None
    if pause is not None:
        assert asked <= pause <= asked + min(backoff.most, backoff.initial * 2**taken) + 1e-9
        assert left is None or pause < left


def test_pauses_double_up_to_the_longest():
    backoff = Backoff(rounds=6, initial=0.1, most=1.0)
    pauses = [backoff.pause(taken, 0.0, None, lambda: 1.0) for taken in range(7)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, None]


def test_a_pause_that_outlasts_the_request_is_not_made():
    assert Backoff().pause(0, 0.0, 0.02, lambda: 0.5) is None
    assert Backoff().pause(0, 0.0, 0.03, lambda: 0.5) == 0.025


@pytest.mark.parametrize("reason", [one for one in Reason if RULES[one].retry is Retry.NEVER])
def test_what_no_try_can_mend_never_passes(reason):
    assert not passes(error(reason))


OWN = {Reason.CONTEXT_TOO_LONG, Reason.UNSUPPORTED_OPTION, Reason.QUOTA_EXHAUSTED}


@pytest.mark.parametrize("reason", [one for one in Reason if RULES[one].retry is not Retry.NEVER])
def test_what_is_wrong_with_the_request_or_spent_for_the_day_does_not_pass(reason):
    soon = error(reason, retry_after=0.5)
    assert passes(soon) == (reason not in OWN)


def test_a_model_that_is_away_passes_only_where_it_says_until_when():
    assert passes(error(Reason.MODEL_UNAVAILABLE, retry_after=0.5))
    assert not passes(error(Reason.MODEL_UNAVAILABLE))


def test_what_several_need_is_taken_from_all_or_from_none():
    policy = BudgetPolicy(ratio=0, per_second=1, burst=1)
    retrying = Retrying(policy=policy, clock=lambda: 0.0)
    assert retrying.grants(["spent"])
    assert not retrying.grants(["full", "spent"])
    assert retrying.grants(["full"])


def test_the_soonest_of_those_who_may_be_tried_again_says_when():
    retrying = Retrying(draw=lambda: 0.0)
    late, soon = (
        error(Reason.QUEUE_FULL, retry_after=1.5),
        error(Reason.QUEUE_FULL, retry_after=0.5),
    )
    never = error(Reason.CONTEXT_TOO_LONG)
    assert retrying.pause(0, [late, soon, never], None) == 0.5
    assert retrying.pause(0, [never], None) is None
    assert retrying.pause(0, [error(Reason.QUEUE_FULL, retry_after=3600)], None) is None
