"""A past choice is made again exactly from its record, whatever happened since."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.selector.building import (
    Clock,
    answered,
    entry,
    failed,
    request_of,
    selector_of,
    served,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Usage
from llmrouter.selector.costs import OTHERS, CostBook
from llmrouter.selector.decisions import record_of
from llmrouter.selector.issued import IssuedPlan, IssuedPlans, Outstanding
from llmrouter.selector.prediction import Predictions
from llmrouter.selector.settings import DecisionSettings
from llmrouter.selector.strategies import BUILT_IN, Strategy

HELD = [
    served(name, address=f"host:{number}", running=number)
    for name in ("a", "b", "c", "d")
    for number in range(2)
]
CATALOG = tuple(
    entry(name, quality=0.3 + place / 10, input_price=place, output_price=place)
    for place, name in enumerate("abcd", 1)
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([one.name for one in BUILT_IN]),
        st.integers(1, 20_000),  # bytes of the prompt
        st.booleans(),  # whether the attempt fails
        st.floats(1e-4, 10),  # its time per token
        st.floats(0, 100),  # what passes before the next
        st.binary(max_size=3),  # the conversation
    ),
    min_size=1,
    max_size=25,
)


def explained(selector, plan_id):
    decision = selector.decision(plan_id)
    return decision.plan_again(), record_of(plan_id, decision)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_replaying_gives_every_plan_again_exactly(steps):
    held, clock = list(HELD), Clock()
    selector = selector_of(lambda: tuple(held), clock, catalog=CATALOG)
    told = []
    for strategy, size, bad, pace, passes, conversation in steps:
        request = request_of(size, strategy=strategy, conversation_key=conversation)
        plan_id, plan = selector.select(request)
        told.append((plan_id, plan))
        outcome = failed() if bad else answered(per_token=pace)
        selector.report(plan_id, [(plan.candidates[0].endpoint, outcome)])
        clock.now += passes
    held[:] = [served("z")]  # another world
    selector.select(request_of())
    for plan_id, plan in told:
        again, record = explained(selector, plan_id)
        assert again == plan
        assert record["order"][0]["score"] == plan.candidates[0].score
        assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_record_tells_features_statistics_draw_order_and_outcomes_but_no_user():
    selector = selector_of(HELD, catalog=CATALOG)
    request = request_of(300, user="ada-lovelace", max_tokens=7, tenant="acme", question_key=b"key")
    plan_id, plan = selector.select(request)
    selector.report(plan_id, [(plan.candidates[0].endpoint, answered(tokens=5))])
    _, record = explained(selector, plan_id)
    assert record["request"]["prompt_bytes"] == 300
    assert record["tenant"] == "acme"
    assert len(record["candidates"]) == 4
    assert {"seconds_per_token", "error_rate", "cost"} <= set(record["candidates"][0])
    assert record["draw"] == explained(selector, plan_id)[1]["draw"]
    assert record["outcomes"][0]["completion_tokens"] == 5
    assert record["policy_version"] == selector.policy_version
    assert "ada-lovelace" not in json.dumps(record)


def test_predictions_are_replayed_without_the_predictor():
    class Predictor:
        def __init__(self):
            self.asked = 0

        def predict(self, request, models, quality):
            self.asked += 1
            chances = np.linspace(0.2, 0.9, len(models))
            return Predictions(chances if self.asked == 1 else 0 * chances, np.arange(len(models)))

    selector = selector_of(HELD, catalog=CATALOG)
    learned = Strategy("learned", {"predicted": 1.0}, predicts=True)
    selector.strategies["learned"] = learned
    selector._predictor = Predictor()
    plan_id, plan = selector.select(request_of(strategy="learned"))
    assert plan.candidates[0].model == "d"
    again, record = explained(selector, plan_id)
    assert again == plan
    assert selector._predictor.asked == 1
    assert record["candidates"][3]["predicted"] == 0.9
    assert record["candidates"][3]["grades"] == 3


@pytest.mark.parametrize(("count", "max_bytes"), [(5, 1 << 20), (1000, 24_000)])
def test_the_log_is_bounded_in_number_and_bytes_and_forgets_the_oldest(count, max_bytes):
    decisions = DecisionSettings(count=count, max_bytes=max_bytes)
    selector = selector_of(HELD, catalog=CATALOG, decisions=decisions)
    ids = [selector.select(request_of())[0] for _ in range(50)]
    log = selector.past
    assert 0 < len(log) <= count
    assert log.bytes <= max_bytes
    assert [plan_id for plan_id, _ in log.newest()] == ids[-len(log) :]
    with pytest.raises(RouterError) as refused:
        selector.decision(ids[0])
    assert refused.value.reason is Reason.UNKNOWN_PLAN


def test_catalogs_that_records_share_count_once_and_those_of_forgotten_records_no_more():
    held = list(HELD)
    settings = DecisionSettings(count=1000, max_bytes=100_000)
    selector = selector_of(lambda: tuple(held), catalog=CATALOG, decisions=settings)
    for number in range(50):
        held[0] = served("a", address="host:0", context=1000 + number)  # another catalog each time
        selector.select(request_of())
    log = selector.past
    views = {id(decision.view) for _, decision in log.newest()}
    assert 1 < len(views) == len(log) < 10
    assert log.bytes <= 100_000
    assert log.bytes == sum(one.bytes + one.view.bytes for _, one in log.newest())


def test_a_log_of_none_keeps_none_and_outcomes_still_count():
    selector = selector_of(HELD, catalog=CATALOG, decisions=DecisionSettings(count=0))
    plan_id, plan = selector.select(request_of())
    assert len(selector.past) == 0
    assert selector.report(plan_id, [(plan.candidates[0].endpoint, answered())]) == 1


def test_issued_plans_are_few_and_young():
    plans = IssuedPlans(seconds=10, most=3)
    for number in range(5):
        plans.add(str(number), IssuedPlan("t", "u", (), at=number))
    assert len(plans) == 3
    assert plans.get("1", 5) is None
    plans.add("late", IssuedPlan("t", "u", (), at=13.5))
    kept = [name for name in ("2", "3", "4", "late") if plans.get(name, 13.5)]
    assert kept == ["4", "late"]
    assert plans.get("4", 14.5) is None


def test_load_counts_until_it_is_settled_or_no_longer_fresh_and_follows_the_catalog():
    a, b = ("a", "v", "h"), ("b", "v", "h")
    load = Outstanding(fresh=10)
    load.arrange([a, b])
    load.add("1", a, 100, now=0)
    load.add("2", b, 50, now=5)
    load.arrange([b, a])
    assert load.tokens.tolist() == [50, 100]
    load.settle("2")
    load.settle("2")
    assert (load.tokens.tolist(), load.requests.tolist()) == ([0, 100], [0, 1])
    load.expire(10)
    assert load.requests.tolist() == [0, 0]
    load.add("3", ("gone", "v", "h"), 100, now=11)
    assert load.requests.tolist() == [0, 0]


def test_an_endpoint_that_comes_back_has_the_load_of_its_plans_again():
    a, b = ("a", "v", "h"), ("b", "v", "h")
    load = Outstanding(fresh=10)
    load.arrange([a, b])
    load.add("1", a, 100, now=0)
    load.arrange([b])
    load.arrange([a, b])
    load.add("2", a, 50, now=1)
    load.settle("1")
    assert (load.tokens.tolist(), load.requests.tolist()) == ([50, 0], [1, 0])


def test_accounts_are_few_and_their_sum_is_right():
    book = CostBook(most=3)
    for number in range(10):
        book.estimate("m", f"t{number}", "u", 1.0)
        book.spend("m", f"t{number}", "u", Usage(10, 2), 0.5)
    tenants = dict(book.accounts("tenant"))
    assert len(tenants) == 4
    assert tenants[OTHERS].plans == 7
    assert sum(one.actual for one in tenants.values()) == 5.0
    assert sum(one.prompt_tokens for one in tenants.values()) == 100
    ((name, account),) = book.accounts("model")
    assert (name, account.attempts, account.estimated) == ("m", 10, 10.0)
