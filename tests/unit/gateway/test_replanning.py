"""Once all of a plan have failed: a pause, those who may have recovered, and no storm."""

from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import (
    CONTEXT,
    FIRST,
    GREEDY,
    SECOND,
    Reporter,
    Runner,
    answer_events,
    collect,
    error,
    planned,
    play,
    started,
    text,
)

from llmrouter.common.capabilities import CONTINUATION
from llmrouter.common.continuation import Switched
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Priority, RequestContext
from llmrouter.common.truncation import Adjustment
from llmrouter.gateway.execution import Execution
from llmrouter.gateway.messages import encode_select
from llmrouter.gateway.plan import Plan
from llmrouter.gateway.retrying import Backoff, BudgetPolicy, Retrying

ALONE = Plan("plan-1", (FIRST,), "first is alone")
ANSWER = answer_events()


class Turns(Runner):
    """Inference: scripts one after another, whoever is asked."""

    def __init__(self, *scripts):
        super().__init__()
        self.left = list(scripts)
        self.asked = []

    def infer(self, candidate, request, context, begun=None):
        self.calls.append(candidate.model)
        self.asked.append((request, context))
        self.begun.append(begun)
        return play(self.left.pop(0), self.log)


class Selector:
    """Plans with those who were not tried, or may be again."""

    def __init__(self, *candidates):
        self.candidates = candidates or (FIRST,)
        self.asked = []

    async def select(self, request, context, tried):
        self.asked.append(tried)
        shut = [one.candidate for one in tried if not one.again]
        left = tuple(one for one in self.candidates if one not in shut)
        if not left:
            raise error(Reason.NO_CANDIDATE)
        return Plan(f"plan-{len(self.asked) + 1}", left)


class Pauses(list):
    """Those that were made, without waiting."""

    async def sleep(self, seconds):
        self.append(seconds)


@pytest.fixture
def pauses():
    return Pauses()


def execution(runner, selector, pauses, *, budget=None, draw=1.0):
    retrying = Retrying(Backoff(3, 0.1, 1.0), budget, clock=lambda: 0.0, draw=lambda: draw)
    return Execution(runner, Reporter(), selector, retrying=retrying, sleep=pauses.sleep)


async def execute(runner, selector, pauses, plan=ALONE, **how):
    stream = execution(runner, selector, pauses, **how).generate(planned(plan=plan), CONTEXT)
    return await collect(stream)


async def test_a_model_that_is_alone_is_tried_again_after_pauses_that_double(pauses):
    runner, selector = Turns([error()], [error(Reason.QUEUE_FULL)], ANSWER), Selector()
    events = await execute(runner, selector, pauses)
    assert text(events) == "Paris"
    assert pauses == [0.1, 0.2]
    assert [one.error_reason for one in events[-1].attempts] == [
        "UPSTREAM_UNAVAILABLE",
        "QUEUE_FULL",
        "",
    ]
    assert started(events).plan_id == "plan-5"  # two of the plans asked for had nobody else


async def test_it_is_given_up_after_so_many_rounds_with_all_that_was_tried(pauses):
    runner = Turns(*([error()] for _ in range(4)))
    with pytest.raises(RouterError) as failure:
        await execute(runner, Selector(), pauses)
    assert len(pauses) == 3
    assert failure.value.metadata["attempts"] == "4"
    assert [one.model for one in failure.value.attempts] == ["first"] * 4


async def test_retry_info_is_obeyed_and_a_long_one_is_left_to_the_caller(pauses):
    soon = error(Reason.QUEUE_FULL, retry_after=0.6)
    await execute(Turns([soon], ANSWER), Selector(), pauses, draw=0.5)
    assert pauses == [0.65]
    with pytest.raises(RouterError):
        await execute(Turns([error(Reason.QUEUE_FULL, retry_after=60)]), Selector(), pauses)
    assert pauses == [0.65]


async def test_no_pause_outlasts_the_deadline(pauses, monkeypatch):
    monkeypatch.setattr(RequestContext, "remaining", lambda self: 0.05)
    with pytest.raises(RouterError) as failure:
        await execute(Turns([error()]), Selector(), pauses)
    assert failure.value.reason is Reason.UPSTREAM_UNAVAILABLE
    assert pauses == []


@pytest.mark.parametrize(
    "reason", [Reason.CONTEXT_TOO_LONG, Reason.UNSUPPORTED_OPTION, Reason.INVALID_ARGUMENT]
)
async def test_what_is_the_requests_own_fault_is_not_tried_again(pauses, reason):
    runner = Turns([error(reason)])
    with pytest.raises(RouterError) as failure:
        await execute(runner, Selector(), pauses)
    assert failure.value.reason is reason
    assert (runner.calls, pauses) == (["first"], [])


async def test_where_all_requests_fail_the_model_gets_no_more_than_its_budget(pauses):
    budget = BudgetPolicy(ratio=0.2, per_second=0, burst=100)
    runner = Turns(*([error()] for _ in range(400)))
    asked = execution(runner, Selector(), pauses, budget=budget)
    for _ in range(100):
        with pytest.raises(RouterError):
            await collect(asked.generate(planned(plan=ALONE), CONTEXT))
    assert 100 < len(runner.calls) <= 120


async def test_a_spent_budget_is_told(pauses):
    budget = BudgetPolicy(ratio=0, per_second=0, burst=1)
    with pytest.raises(RouterError) as failure:
        await execute(Turns([error()]), Selector(), pauses, budget=budget)
    assert failure.value.metadata["retries"] == "their budget is spent"


async def test_others_come_before_a_pause_and_one_at_a_time(pauses):
    third = replace(SECOND, model="third", address="three:3")
    runner = Turns([error()], [error()], ANSWER)
    selector = Selector(FIRST, SECOND, third)
    events = await execute(runner, selector, pauses)
    assert runner.calls == ["first", "second", "third"]
    assert len(selector.asked) == 2  # each needs a grant of its own
    assert pauses == []
    assert started(events).model == "third"


async def test_an_answer_that_breaks_off_is_gone_on_with_by_the_same_model_once_it_is_back(pauses):
    begin = ANSWER[:3]
    rest = [ANSWER[0], *answer_events(text=("!",))[1:]]
    runner, selector = Turns([*begin, error()], [error()], rest), Selector()
    events = await execute(runner, selector, pauses)
    assert text(events) == "Paris!"
    assert [type(one) for one in events].count(Switched) == 1
    assert [None if one is None else one.text for one in runner.begun] == [None, "Paris", "Paris"]
    last = encode_select(GREEDY, CONTEXT, selector.asked[-1])
    assert list(last.tried) == []
    assert CONTINUATION in last.capabilities


async def test_who_was_over_a_limit_asks_the_next_one_at_low_priority_and_is_told(pauses):
    runner = Turns([error(Reason.RATE_LIMITED)], ANSWER)
    events = await execute(runner, Selector(), pauses, Plan("plan-1", (FIRST, SECOND)))
    (request, context) = runner.asked[1]
    assert (request.priority, context.priority) == (Priority.LOW, Priority.LOW)
    assert [one.adjustment for one in events[-1].attempts] == [
        None,
        Adjustment(low_priority=True),
    ]


async def test_so_does_who_met_a_providers_limit_but_not_who_met_a_full_queue(pauses):
    provider = error(Reason.QUEUE_FULL, metadata={"http_status": "429"})
    for failure, low in ((provider, True), (error(Reason.QUEUE_FULL), False)):
        runner = Turns([failure], ANSWER)
        await execute(runner, Selector(), pauses, Plan("plan-1", (FIRST, SECOND)))
        assert (runner.asked[1][1].priority is Priority.LOW) == low
