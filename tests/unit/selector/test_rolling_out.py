"""A selector with a rollout: who gets which version, and what the wire refuses."""

from __future__ import annotations

import math

import pytest
from tests.unit.selector.building import Clock, answered, failed, request_of, selector_of, served

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire import duration
from llmrouter.selector.encoding import encode_versions
from llmrouter.selector.rollouts import RolloutState
from llmrouter.selector.servicer import SelectorServicer
from llmrouter.v1 import selector_pb2 as pb

HELD = (served("m", "v1"), served("m", "v2"), served("other", "v1"))


async def start(selector, **spec):
    spec = {"model": "m", "new_version": "v2", "old_version": "v1", **spec}
    servicer = SelectorServicer(selector)
    request = pb.StartRolloutRequest(spec=pb.RolloutSpec(**spec))
    return (await servicer.StartRollout(request, None)).rollout


def version_of(selector, **request):
    return selector.select(request_of(model="m", **request))[1].candidates[0].version


async def test_sessions_are_split_by_the_share_and_stick_and_the_old_version_stands_behind():
    clock = Clock()
    selector = selector_of(HELD, clock, catalog=())
    await start(selector, interval=duration(100), min_samples=1)
    before = {}
    for number in range(500):
        plan = selector.select(request_of(model="m", session=str(number)))[1]
        before[number] = plan.candidates[0].version
        assert {one.version for one in plan.candidates} == {"v1", "v2"}
    assert 25 < sum(version == "v2" for version in before.values()) < 85
    clock.now += 101
    plan_id, plan = next(
        (plan_id, plan)
        for plan_id, plan in (
            selector.select(request_of(model="m", session=str(n))) for n in range(500)
        )
        if plan.candidates[0].version == "v2"
    )
    selector.report(plan_id, [(plan.candidates[0].endpoint, answered())])
    moved = {n: version_of(selector, session=str(n)) for n in before}
    assert 110 < sum(version == "v2" for version in moved.values()) < 190
    assert all(moved[n] == "v2" for n, version in before.items() if version == "v2")


async def test_without_a_session_the_user_or_the_conversation_sticks():
    selector = selector_of(HELD, catalog=())
    await start(selector, stages=[0.5, 1.0])
    for name, keys in (("user", ["a", "b", "c", "d"]), ("conversation_key", [b"1", b"2", b"3"])):
        for key in keys:
            versions = {version_of(selector, request_id=str(n), **{name: key}) for n in range(5)}
            assert len(versions) == 1
    spread = {version_of(selector, request_id=str(n)) for n in range(50)}
    assert spread == {"v1", "v2"}


async def test_a_new_version_that_fails_is_rolled_back_within_its_interval_and_gets_no_traffic():
    selector = selector_of(HELD, catalog=())
    await start(selector)
    for number in range(200):
        plan_id, plan = selector.select(request_of(model="m", session=str(number)))
        first = plan.candidates[0]
        bad = first.version == "v2"
        told = [(first.endpoint, failed() if bad else answered())]
        if bad:  # the old version stands in
            told.append((plan.candidates[1].endpoint, answered()))
        assert selector.report(plan_id, told) == len(told)
    (rollout,) = selector.rollouts.all(100.0)
    assert rollout.state is RolloutState.ROLLED_BACK
    assert rollout.new.failures <= 3
    assert {version_of(selector, session=str(n)) for n in range(100)} == {"v1"}
    plan = selector.select(request_of(model="m"))[1]
    assert plan.candidates[1].version == "v2"  # better than nothing


async def test_a_version_asked_for_by_name_is_not_rolled_out():
    selector = selector_of(HELD, catalog=())
    await start(selector)
    for version in ("v1", "v2"):
        plan = selector.select(request_of(model=f"m@{version}"))[1]
        assert [one.version for one in plan.candidates] == [version]


async def test_a_version_that_is_not_the_stable_one_gets_traffic_only_while_it_is_rolled_out():
    stable = served("m", "v1", names=frozenset({"stable"}))
    selector = selector_of((stable, served("m", "v2")), catalog=())
    assert version_of(selector) == "v1"
    await start(selector, stages=[0.5, 1.0])
    versions = {version_of(selector, session=str(number)) for number in range(50)}
    assert versions == {"v1", "v2"}
    assert not any(one.away for one in encode_versions(selector, "one").versions)
    selector.rollouts.abort("m", 100.0)
    # What it answered before is not to be repeated without asking who answers now.
    told = encode_versions(selector, "one").versions
    assert [(one.version, one.away) for one in told] == [("v1", False), ("v2", True)]
    assert {version_of(selector, session=str(number)) for number in range(50)} == {"v1"}


@pytest.mark.parametrize("completed", [True, False])
@pytest.mark.parametrize("left", ["v1", "v2"])
async def test_a_version_that_alone_is_left_after_a_rollout_takes_the_traffic(completed, left):
    held = list(HELD)
    selector = selector_of(lambda: tuple(held), catalog=())
    await start(selector, stages=[1.0], min_samples=1, interval=duration(0.1))
    if completed:
        selector.rollouts.observe("m", "v2", answered(), 100.0)
        assert next(selector.rollouts.all(200.0)).state is RolloutState.COMPLETED
    else:
        selector.rollouts.abort("m", 100.0)
    told = [(one.version, one.away) for one in encode_versions(selector, "one").versions]
    assert told == [("v1", completed), ("v2", not completed), ("v1", False)]
    held[:] = [one for one in HELD if one.version == left and one.name == "m"]
    assert version_of(selector) == left
    told = [(one.version, one.away) for one in encode_versions(selector, "one").versions]
    assert told == [(left, False)]


async def test_no_traffic_is_rolled_out_to_a_version_that_is_away():
    selector = selector_of((HELD[0], served("m", "v2", ready=False, silent=True)), catalog=())
    with pytest.raises(RouterError, match="no endpoint serves the new_version m@v2; served: v1"):
        await start(selector)


async def test_where_the_new_version_is_broken_its_sessions_get_the_old_one():
    selector = selector_of(HELD, catalog=())
    await start(selector, stages=[1.0])
    assert version_of(selector) == "v2"
    for _ in range(5):
        selector.breakers.fail(("m", "v2", "host:1"), "INTERNAL", 100.0)
    assert version_of(selector) == "v1"


async def test_shadows_answer_for_nobody_and_their_outcomes_count():
    selector = selector_of(HELD, catalog=())
    await start(selector, shadow=0.5, min_samples=5, interval=duration(0.1))
    shadowed = 0
    for number in range(100):
        request = request_of(model="m", request_id=str(number), tenant="acme")
        plan_id, plan = selector.select(request)
        if not plan.shadows:
            continue
        shadowed += 1
        assert (plan.candidates[0].version, plan.shadows[0].version) == ("v1", "v2")
        assert selector.report(plan_id, [(plan.shadows[0].endpoint, answered())]) == 1
        if shadowed == 4:
            break
    (rollout,) = selector.rollouts.all(100.0)
    assert (rollout.stage, rollout.new.attempts) == (-1, 4)
    tenants = dict(selector.costs.accounts("tenant"))
    assert tenants["(shadows)"].attempts == 4
    assert tenants["acme"].attempts == 0


@pytest.mark.parametrize(
    ("wrong", "reason", "why"),
    [
        ({"model": "none"}, Reason.UNKNOWN_MODEL, "no endpoint serves"),
        ({"new_version": "v9"}, Reason.UNKNOWN_MODEL, "served: v1, v2"),
        ({"old_version": "v9"}, Reason.UNKNOWN_MODEL, "old_version"),
        ({"new_version": ""}, Reason.INVALID_ARGUMENT, "new_version"),
        ({"old_version": "v2"}, Reason.INVALID_ARGUMENT, "old_version"),
        ({"stages": [0.5, 0.1, 1.0]}, Reason.INVALID_ARGUMENT, "stages"),
        ({"stages": [0.0, 1.0]}, Reason.INVALID_ARGUMENT, "stages"),
        ({"stages": [0.5]}, Reason.INVALID_ARGUMENT, "stages"),
        ({"stages": [math.nan, 1.0]}, Reason.INVALID_ARGUMENT, "stages"),
        ({"stages": [n / 20 for n in range(1, 21)]}, Reason.INVALID_ARGUMENT, "stages"),
        ({"interval": duration(1e9)}, Reason.INVALID_ARGUMENT, "interval"),
        ({"interval": duration(-1)}, Reason.INVALID_ARGUMENT, "interval"),
        ({"min_samples": 2_000_000}, Reason.INVALID_ARGUMENT, "min_samples"),
        ({"max_error_rate": 2.0}, Reason.INVALID_ARGUMENT, "max_error_rate"),
        ({"max_error_rate": math.nan}, Reason.INVALID_ARGUMENT, "max_error_rate"),
        ({"max_slowdown": 0.5}, Reason.INVALID_ARGUMENT, "max_slowdown"),
        ({"shadow": -0.5}, Reason.INVALID_ARGUMENT, "shadow"),
    ],
)
async def test_a_rollout_that_cannot_be_meant_is_refused(wrong, reason, why):
    with pytest.raises(RouterError, match=why) as refused:
        await start(selector_of(HELD, catalog=()), **wrong)
    assert refused.value.reason is reason


async def test_versions_may_be_named_by_label_or_alias_and_are_told_as_fingerprints():
    held = (
        served("m", "v1", names=frozenset({"stable", "spring"})),
        served("m", "v2", names=frozenset({"latest"})),
    )
    selector = selector_of(held, catalog=())
    rollout = await start(selector, new_version="latest", old_version="spring")
    assert (rollout.spec.old_version, rollout.spec.new_version) == ("v1", "v2")
    with pytest.raises(RouterError, match=r"served: v1 \(spring, stable\), v2 \(latest\)"):
        await start(selector_of(held, catalog=()), new_version="autumn")
    with pytest.raises(RouterError, match="must name one of the others"):
        await start(selector_of(held, catalog=()), new_version="latest", old_version="v2")


async def test_an_alias_that_leads_to_several_versions_is_refused_with_them():
    names = frozenset({"latest"})
    held = (
        served("m", "v1"),
        served("m", "v2", address="h:1", names=names),
        served("m", "v3", address="h:2", names=names),
    )
    with pytest.raises(RouterError, match="'latest' names v2, v3; give one fingerprint"):
        await start(selector_of(held, catalog=()), new_version="latest")


async def test_the_old_version_is_the_only_other_one_and_defaults_are_filled_in():
    rollout = await start(selector_of(HELD, catalog=()), old_version="")
    assert rollout.spec.old_version == "v1"
    assert list(rollout.spec.stages) == [0.1, 0.3, 0.7, 1.0]
    assert (rollout.spec.interval.seconds, rollout.spec.min_samples) == (300, 50)
    assert (rollout.state, rollout.share) == (pb.ROLLOUT_STATE_RUNNING, 0.1)


async def test_a_rollout_is_paused_resumed_and_aborted_on_the_wire():
    selector = selector_of(HELD, catalog=())
    servicer = SelectorServicer(selector)

    async def change(action):
        request = pb.ChangeRolloutRequest(model="m", action=action)
        return (await servicer.ChangeRollout(request, None)).rollout.state

    with pytest.raises(RouterError, match="was never started") as refused:
        await change(pb.ROLLOUT_ACTION_PAUSE)
    assert refused.value.reason is Reason.ROLLOUT_CONFLICT
    await start(selector)
    with pytest.raises(RouterError, match="already") as refused:
        await start(selector)
    assert refused.value.reason is Reason.ROLLOUT_CONFLICT
    assert await change(pb.ROLLOUT_ACTION_PAUSE) == pb.ROLLOUT_STATE_PAUSED
    assert await change(pb.ROLLOUT_ACTION_PAUSE) == pb.ROLLOUT_STATE_PAUSED
    assert await change(pb.ROLLOUT_ACTION_RESUME) == pb.ROLLOUT_STATE_RUNNING
    assert await change(pb.ROLLOUT_ACTION_ABORT) == pb.ROLLOUT_STATE_ABORTED
    assert version_of(selector) == "v1"
    with pytest.raises(RouterError, match="is aborted"):
        await change(pb.ROLLOUT_ACTION_RESUME)
    with pytest.raises(RouterError, match="action"):
        await change(pb.ROLLOUT_ACTION_UNSPECIFIED)
    await start(selector)
    (listed,) = (await servicer.ListRollouts(pb.ListRolloutsRequest(), None)).rollouts
    assert listed.state == pb.ROLLOUT_STATE_RUNNING


@pytest.mark.parametrize(
    "wrong",
    [
        {"stages": ["a", "b"]},
        {"stages": []},
        {"stages": [math.nan]},
        {"min_samples": None},
        {"max_error_rate": "much"},
        {"max_slowdown": 0},
        {"interval": 10**400},
    ],
)
async def test_a_kept_rollout_that_cannot_be_is_left_out_and_choices_go_on(wrong):
    clock, told = Clock(), {}
    first = selector_of(HELD, clock, catalog=())
    await start(first)
    [rollout] = first.rollouts.all(clock.now)
    told["m"] = {**rollout.data(), "spec": {**rollout.data()["spec"], **wrong}}
    second = selector_of(HELD, clock, catalog=())
    second.restore({"rollout": told})
    second.take("rollout", "m", told["m"])
    plan_id, plan = second.select(request_of(model="m", session="s"))
    second.report(plan_id, [(plan.candidates[0].endpoint, answered())])
    assert list(second.rollouts.all(clock.now)) == []


async def test_a_rollout_begun_after_the_clock_was_put_back_follows_the_last_one_everywhere():
    clock, wall = Clock(), [2000.0]
    here, there = (selector_of(HELD, clock, catalog=()) for _ in range(2))
    here.rollouts._wall = lambda: wall[0]
    await start(here)
    here.rollouts.abort("m", clock.now)
    [ended] = here.rollouts.all(clock.now)
    there.take("rollout", "m", ended.data())
    wall[0] = 1000.0
    await start(here)
    [begun] = here.rollouts.all(clock.now)
    there.take("rollout", "m", begun.data())
    assert [one.state for one in there.rollouts.all(clock.now)] == [RolloutState.RUNNING]


async def test_what_a_shadow_reports_takes_no_load_from_the_version_that_still_answers():
    selector = selector_of(HELD, catalog=())
    await start(selector, shadow=1.0)
    plan_id, plan = selector.select(request_of(model="m"))
    assert selector.report(plan_id, [(plan.shadows[0].endpoint, answered())]) == 1
    assert selector.outstanding.requests.sum() == 1
    selector.report(plan_id, [(plan.candidates[0].endpoint, answered())])
    assert selector.outstanding.requests.sum() == 0
