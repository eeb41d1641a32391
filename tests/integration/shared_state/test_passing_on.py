"""An outcome that reaches another selector than the one that made the plan is learned there."""

import contextlib

import pytest
from tests.integration.shared_state.members import Member
from tests.support.waiting import until
from tests.unit.selector.building import answered, failed, request_of

from llmrouter.common.errors import RouterError
from llmrouter.selector.breakers import BreakerState
from llmrouter.selector.passing_on import KIND, SharedOutcomes


class Reporting(Member):
    """One selector that passes outcomes on."""

    async def start(self):
        self.outcomes = SharedOutcomes(self.selector, self.store.tell)
        documents = await self.store.load()
        self.selector.restore(documents)
        await self.store.follow(self.outcomes.take, documents)
        return self

    def plan(self, **wishes):
        plan_id, plan = self.selector.select(request_of(**wishes))
        return plan_id, plan.candidates[0].endpoint

    def seen(self, key):
        return self.selector.statistics.seen(key)


@pytest.fixture
async def two(redis_server, tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for name in ("first", "second"):
            member = Reporting(redis_server, tmp_path, name)
            stack.push_async_callback(member.close)
            made.append(await member.start())
        yield made


async def test_what_was_observed_counts_once_where_the_plan_was_made_and_nowhere_else(two):
    first, second = two
    plan_id, key = first.plan()
    before = first.selector.outstanding.requests.sum()
    assert second.outcomes.report(plan_id, [(key, answered(tokens=7))]) == 0
    await until(lambda: first.seen(key) is not None)
    assert first.selector.outstanding.requests.sum() == before - 1
    assert first.outcomes.report(plan_id, [(key, answered())]) == 0
    assert second.seen(key) is None
    [outcome] = first.selector.decision(plan_id).outcomes
    assert (outcome["completion_tokens"], outcome["time_to_first_token"]) == (7, 0.1)


async def test_failures_told_to_another_open_a_breaker(two):
    first, second = two
    for _ in range(5):
        plan_id, key = first.plan(model="large")
        second.outcomes.report(plan_id, [(key, failed())])
    await until(
        lambda: first.selector.breakers.state(key, first.selector.clock()) is BreakerState.OPEN
    )


async def test_one_of_our_own_is_taken_in_at_once(two):
    first, _ = two
    plan_id, key = first.plan()
    assert first.outcomes.report(plan_id, [(key, answered())]) == 1


async def test_while_the_server_is_away_the_caller_is_told_that_the_plan_is_unknown(
    two, redis_server
):
    first, second = two
    plan_id, key = first.plan()
    redis_server.stop()
    await until(lambda: second.store.trouble)
    with pytest.raises(RouterError, match="no plan"):
        second.outcomes.report(plan_id, [(key, answered())])


@pytest.mark.parametrize("data", [None, {}, {"attempts": [["m", {}]]}, {"attempts": [[["m"], 3]]}])
def test_what_cannot_be_read_is_left_out(two, data, caplog):
    two[0].outcomes.take(KIND, "p", data)
    assert "cannot be read" in caplog.text


def test_an_outcome_of_a_plan_that_nobody_here_made_is_left_out(two):
    two[0].outcomes.take(KIND, "p", {"attempts": []})
