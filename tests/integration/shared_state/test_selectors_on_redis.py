"""Two selectors on one Redis agree, and go on alone while it is away."""

import contextlib
from dataclasses import replace

import pytest
from pydantic import SecretStr
from tests.integration.shared_state.members import KEY, Member
from tests.support.waiting import until
from tests.unit.selector.building import answered, failed, request_of
from tests.unit.selector.learned.prompts import SUMS, TALES, prompt

from llmrouter.common.errors import RouterError
from llmrouter.common.prompt_features import features_of
from llmrouter.common.rating import Rating
from llmrouter.common.redis_server import RedisSettings
from llmrouter.selector.breakers import BreakerState
from llmrouter.selector.redis_state import RedisState
from llmrouter.selector.rollouts import RolloutSpec, RolloutState
from llmrouter.selector.state_store import SqliteState

SPEC = RolloutSpec("m", "v1", "v2", interval=3600, min_samples=10)


@pytest.fixture
async def member(redis_server, tmp_path):
    """Makes selectors on the server by name."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(name, **options):
            made = Member(redis_server, tmp_path, name, **options)
            stack.push_async_callback(made.close)
            return await made.start()

        yield make


def break_it(one):
    for _ in range(5):
        one.selector.breakers.fail(KEY, "INTERNAL", one.selector.clock())


async def test_a_rollout_that_one_starts_moves_the_same_sessions_on_both(member):
    first, second = await member("first"), await member("second")
    first.selector.rollouts.start(SPEC, first.selector.clock())
    await until(lambda: any(second.selector.rollouts.all(second.selector.clock())))
    for number in range(100):
        request = request_of(model="m", session=str(number))
        versions = {
            one.selector.select(request)[1].candidates[0].version for one in (first, second)
        }
        assert len(versions) == 1
    assert second.rollout.spec == SPEC


async def test_a_pause_and_an_end_by_either_hold_for_both(member):
    first, second = await member("first"), await member("second")
    first.selector.rollouts.start(SPEC, first.selector.clock())
    await until(lambda: any(second.selector.rollouts.all(0.0)))
    second.selector.rollouts.pause("m", second.selector.clock())
    await until(lambda: first.rollout.state is RolloutState.PAUSED)
    first.selector.rollouts.resume("m", first.selector.clock())
    await until(lambda: second.rollout.state is RolloutState.RUNNING)
    for _ in range(5):
        second.selector.rollouts.observe("m", "v2", failed(), second.selector.clock())
    assert second.rollout.state is RolloutState.ROLLED_BACK
    await until(lambda: first.rollout.state is RolloutState.ROLLED_BACK)
    assert first.rollout.reason == second.rollout.reason
    again = replace(SPEC, min_samples=20)
    first.selector.rollouts.start(again, first.selector.clock())
    await until(lambda: second.rollout.spec == again)
    assert second.rollout.state is RolloutState.RUNNING


async def test_a_breaker_that_opens_or_is_closed_by_hand_does_so_for_both(member):
    first, second = await member("first"), await member("second")
    break_it(first)
    await until(lambda: second.breaker() is BreakerState.OPEN)
    second.selector.breakers.reset()
    await until(lambda: first.breaker() is BreakerState.CLOSED)


async def test_a_selector_that_kept_an_old_breaker_closes_none_that_is_open_now(member, tmp_path):
    kept = SqliteState(tmp_path / "second.sqlite")
    await kept.load()
    old = {"model": "m", "version": "v1", "address": "host:1", "opened": 0.0, "failures": 5}
    kept.put("breaker", " ".join(KEY), {**old, "last_error": "INTERNAL"})
    await kept.close()
    first = await member("first")
    break_it(first)
    second = await member("second")
    await until(lambda: second.breaker() is BreakerState.OPEN)
    second.selector.rollouts.start(SPEC, second.selector.clock())
    await until(lambda: any(first.selector.rollouts.all(0.0)))  # what was told before has come
    assert first.breaker() is BreakerState.OPEN


def asked(kind, place):
    request = request_of(request_id=f"{kind}{place}", strategy="learned")
    return request._replace(features=features_of(prompt(kind, place)))


async def test_what_either_is_taught_both_have_learned(member):
    first, second = await member("first"), await member("second")
    for place in range(100):
        kind, one = (SUMS, TALES)[place % 2], (first, second)[place // 2 % 2]
        plan_id, plan = one.selector.select(asked(kind, place))
        for candidate in {each.model: each for each in plan.candidates}.values():
            one.selector.report(plan_id, [(candidate.endpoint, answered())])
            grade = float(candidate.model == "large" or kind == TALES)
            one.selector.rate(Rating(plan_id, grade, candidate.model), "default")
    for one in (first, second):
        await until(lambda one=one: one.selector.teacher._learner.grades("m") == 100)
        await one.selector.teacher.idle()
        assert one.selector.select(asked(TALES, 900))[1].candidates[0].model == "m"
        assert one.selector.select(asked(SUMS, 900))[1].candidates[0].model == "large"


async def test_one_that_starts_later_knows_all_that_is_shared(member):
    first = await member("first")
    first.selector.rollouts.start(SPEC, first.selector.clock())
    break_it(first)
    await until(lambda: not first.store._pending)
    second = await member("second")
    assert second.rollout.spec == SPEC
    assert second.breaker() is BreakerState.OPEN
    assert second.store.trouble == ""


async def test_without_the_server_each_goes_on_alone_and_says_so_until_it_is_back(
    member, redis_server
):
    first, second = await member("first"), await member("second")
    redis_server.stop()
    await until(lambda: "shares nothing until it is back" in first.store.trouble)
    await until(lambda: second.store.trouble)
    first.selector.rollouts.start(SPEC, first.selector.clock())
    break_it(second)
    assert first.rollout.state is RolloutState.RUNNING
    assert first.breaker() is BreakerState.CLOSED
    redis_server.start()
    await until(lambda: not first.store.trouble and not second.store.trouble)
    await until(lambda: any(second.selector.rollouts.all(0.0)))
    await until(lambda: first.breaker() is BreakerState.OPEN)


async def test_a_server_that_was_never_there_leaves_the_own_state_of_before(
    member, redis_server, tmp_path
):
    first = await member("first")
    first.selector.rollouts.start(SPEC, first.selector.clock())
    await until(lambda: not first.store._pending)
    await first.close()
    redis_server.stop()
    again = await member("first", patience=0.2)
    assert again.rollout.spec == SPEC
    assert "shares nothing" in again.store.trouble


async def test_what_others_write_that_is_no_document_is_left_out(member, redis_server, caplog):
    first = await member("first")
    client = first.store._link._client()
    async with client:
        for text in ("{", "[1]", '{"by": "x", "kind": "rollout", "key": "m", "text": "{"}'):
            await client.publish("llmrouter:selector:changes", text)
        await client.hset("llmrouter:selector:rollout", "n", "7")
        nonsense = '{"by": "x", "kind": "breaker", "key": "", "text": "{\\"opened\\": []}"}'
        await client.publish("llmrouter:selector:changes", nonsense)
    await until(lambda: caplog.text.count("cannot be read") >= 2 and "no document" in caplog.text)
    second = await member("second")
    assert not any(second.selector.rollouts.all(0.0))


def test_a_password_file_that_is_not_there_is_refused_at_start(tmp_path):
    settings = RedisSettings(address="127.0.0.1:1", password_file=tmp_path / "none")
    with pytest.raises(RouterError, match=r"selector\.redis cannot be used.*none"):
        RedisState(settings, SqliteState(tmp_path / "s.sqlite"))


async def test_a_wrong_password_is_told_and_nothing_is_shared(redis_server, tmp_path):
    settings = RedisSettings(
        address=redis_server.address,
        user="nobody",
        password=SecretStr("open sesame"),
        timeout_seconds=1,
    )
    store = RedisState(settings, SqliteState(tmp_path / "s.sqlite"), beat=0.05)
    documents = await store.load()
    await store.follow(lambda *_: None, documents)
    assert "invalid username-password pair" in store.trouble
    assert "sesame" not in store.trouble
    await store.close()
