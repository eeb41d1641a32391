"""How many replicas are wanted, on made-up loads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.selector.building import selector_of

from llmrouter.common.telemetry.names import Name
from llmrouter.selector.placement import Holding, Node
from llmrouter.selector.readings import readings
from llmrouter.selector.scale_watch import ScaleWatch
from llmrouter.selector.scaling import (
    Bounds,
    ScaleTargets,
    Steadied,
    Windows,
    loads_of,
    model_loads,
    wanted,
)
from llmrouter.selector.scaling_settings import PoolSettings, ScalingSettings
from llmrouter.selector.settings import SelectorSettings

TARGETS = ScaleTargets()
counts = st.integers(1, 64)
loads = st.floats(0, 50)


def node(address, cpu=0.0, **busy):
    held = (Holding(name, "v", True, True, 1, busy=each) for name, each in busy.items())
    return Node(address, cpu, 0.1, 1 << 30, None, tuple(held))


@pytest.mark.parametrize(
    ("load", "replicas", "expected"),
    [(1.0, 4, 4), (1.2, 4, 4), (0.5, 4, 4), (1.21, 4, 5), (2.0, 4, 8), (0.49, 4, 2), (0, 4, 1)],
)
def test_replicas_change_above_1_2_and_below_half_of_the_target(load, replicas, expected):
    assert wanted(load, replicas, Bounds(), TARGETS) == expected


@given(st.integers(1, 256), counts)
def test_work_that_so_many_do_exactly_wants_so_many(work, replicas):
    busy = work / replicas * TARGETS.cpu  # as a node tells it; the sums of floats are not exact
    told = wanted(busy / TARGETS.cpu, replicas, Bounds(), TARGETS)
    assert told in {work, replicas}


@given(loads, counts, st.integers(1, 8), st.integers(8, 64))
def test_what_is_wanted_lies_within_the_bounds(load, replicas, least, most):
    assert least <= wanted(load, replicas, Bounds(least, most), TARGETS) <= most


@given(loads, counts, st.integers(1, 8), st.integers(8, 64))
def test_once_there_the_same_work_wants_no_other_number(load, replicas, least, most):
    bounds = Bounds(least, most)
    there = wanted(load, replicas, bounds, TARGETS)
    assert wanted(load * replicas / there, there, bounds, TARGETS) == there


@given(loads, loads, counts)
def test_more_work_never_wants_fewer(one, other, replicas):
    less, more = sorted((one, other))
    assert wanted(less, replicas, Bounds(), TARGETS) <= wanted(more, replicas, Bounds(), TARGETS)


def test_the_load_of_a_pool_is_that_of_its_cores_and_of_the_busiest_models():
    told = loads_of([node("a", 0.7, m=0.85, n=0.1), node("b", 0.35, m=1.7)], TARGETS)
    assert told["cpu"] == pytest.approx(0.75)
    assert told["slots"] == pytest.approx(1.5)
    assert loads_of([], TARGETS) == {}


def test_the_load_of_a_model_is_that_of_its_own_replicas():
    told = model_loads([node("a", m=0.85, n=0.1), node("b", m=1.7)], TARGETS)
    assert told["m"] == (2, pytest.approx(1.5))
    assert told["n"][0] == 1


def asked(script, windows, replicas=4):
    """Return what is asked for at each second, by what is wanted then."""
    steadied = Steadied(windows)
    return [steadied.take(float(second), one, replicas) for second, one in enumerate(script)]


def test_more_are_asked_for_once_more_were_wanted_all_the_while():
    assert asked([6] * 5, Windows(up=2, down=10)) == [4, 4, 4, 6, 6]


def test_a_burst_that_is_over_sooner_changes_nothing():
    assert set(asked([4, 4, 4, 9, 9, 4, 4, 4], Windows(up=2, down=10))) == {4}


def test_fewer_are_asked_for_only_after_long_quiet_and_then_the_most_that_were_wanted():
    told = asked([1, 2, 1, 1, 1, 1, 1], Windows(up=0, down=3))
    assert told == [4, 4, 4, 4, 2, 1, 1]


def test_after_long_silence_what_there_is_counts_as_right():
    steadied = Steadied(Windows(up=2, down=5))
    assert [steadied.take(at, 9, 4) for at in (0.0, 1.0, 3.0)] == [4, 4, 9]
    assert steadied.take(100.0, 9, 4) == 4


@given(st.lists(st.integers(1, 32), min_size=1, max_size=60), counts)
def test_what_is_asked_for_was_wanted_or_is_there(script, replicas):
    for told in asked(script, Windows(up=3, down=7), replicas):
        assert told in {replicas, *script}


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 12)), max_size=60))
def test_it_says_what_all_looks_of_its_windows_say(script):
    steadied, looks, now = Steadied(Windows(up=4, down=9)), [], 0.0
    for many, gap in script:
        now += gap
        looks = [one for one in looks if one[0] >= now - 9] or [(now, 2)]
        looks.append((now, many))
        up = min(count for at, count in looks if at >= now - 4)
        down = max(count for at, count in looks if at >= now - 9)
        assert steadied.take(now, many, 2) == (up if up > 2 else min(2, down))


@given(st.floats(0, 100), counts, st.integers(1, 16))
def test_steady_work_is_answered_by_one_change_at_most(work, replicas, most):
    bounds, steadied = Bounds(1, most), Steadied(Windows(up=3, down=7))
    replicas, seen = min(replicas, most), []
    for second in range(40):
        now = wanted(work / replicas, replicas, bounds, TARGETS)
        replicas = steadied.take(float(second), now, replicas)
        seen.append(replicas)
    assert len(set(seen)) <= 2
    assert replicas <= max(1, math.ceil(work * 2))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def watching(nodes, **values):
    clock = Clock()
    return clock, ScaleWatch(lambda: tuple(nodes), ScalingSettings(**values), clock)


def test_without_pools_all_services_are_one():
    clock, watch = watching([node("a", 0.9, m=1), node("b", 0.95, m=1)], up_seconds=10)
    watch.look()
    assert (watch.pools["default"].replicas, watch.pools["default"].desired) == (2, 2)
    clock.now = 11.0
    watch.look()
    assert watch.pools["default"].desired == 3
    assert watch.models["m"].desired == 2


def test_a_pool_counts_its_own_services_and_keeps_to_its_bounds():
    pools = {
        "small": PoolSettings(addresses=("a:1", "b:1"), most=2),
        "large": PoolSettings(addresses=("c:1",), least=2, most=9),
    }
    nodes = [node("a:1", 1.0), node("b:1", 1.0), node("c:1", 0.0)]
    _, watch = watching(nodes, pools=pools, up_seconds=0)
    watch.look()
    assert {name: one.desired for name, one in watch.pools.items()} == {"small": 2, "large": 2}


def test_who_is_silent_is_not_idle():
    nodes = [node("a", 1.0), node("b", 1.0)]
    clock, watch = watching(nodes, up_seconds=0, down_seconds=1)
    watch.look()
    clock.now = 1.0
    watch.look()
    assert watch.pools["default"].desired == 3
    nodes.clear()
    clock.now = 50.0
    watch.look()
    assert watch.pools["default"].desired == 3
    assert watch.models == {}


def test_a_pool_that_was_never_heard_of_is_not_spoken_of():
    _, watch = watching([], pools={"main": PoolSettings(addresses=("a:1",))})
    watch.look()
    assert watch.pools == {}


async def test_metrics_show_what_is_asked_for_and_what_it_follows_from():
    _, watch = watching([node("a", 1.4, m=1.7)], up_seconds=0)
    watch.look()
    watch.look()
    told = {
        (one.name, *sorted(one.labels.values())): one.value
        for one in await readings(selector_of([]), watch)
    }
    assert told[Name.DESIRED_REPLICAS, "default"] == watch.pools["default"].desired
    assert told[Name.REPLICAS, "default"] == 1
    assert told[Name.POOL_LOAD, "cpu", "default"] == pytest.approx(2)
    assert told[Name.POOL_LOAD, "default", "slots"] == pytest.approx(2)
    assert told[Name.MODEL_DESIRED_REPLICAS, "m"] == watch.models["m"].desired


def test_a_pool_is_made_of_addresses_that_are_watched():
    pools = {"main": {"addresses": ["b:1"]}}
    with pytest.raises(ValueError, match=r"scaling\.pools\.main\.addresses has b:1"):
        SelectorSettings(inference_addresses=("a:1",), scaling={"pools": pools})
    with pytest.raises(ValueError, match="least 3 must not exceed most 2"):
        PoolSettings(addresses=("a:1",), least=3, most=2)
