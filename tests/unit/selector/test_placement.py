"""Plans towards the targets of utilisation, on made-up nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from llmrouter.selector.placement import Action, Holding, Node, Targets, plan_placement

TARGETS = Targets()
GIB = 1 << 30


def holding(name, *, ready=True, memory=GIB, **values):
    return Holding(name, f"v-{name}", ready, values.pop("settled", True), memory, **values)


def node(address, *holdings, cpu=0.3, memory=0.3, limit=10 * GIB, free=None):
    return Node(address, cpu, memory, limit, free, holdings)


def told(steps):
    return [(step.action.value, step.address, step.name) for step in steps]


def plan(*nodes, targets=TARGETS, **past):
    return told(plan_placement(nodes, targets, **past))


def test_one_node_is_left_alone_whatever_it_suffers():
    assert plan(node("a", holding("m", busy=9), cpu=1, memory=1)) == []


def test_within_the_targets_nothing_moves():
    assert plan(node("a", holding("m")), node("b", holding("m"), holding("n"))) == []


def test_a_busy_model_gets_a_replica_where_there_is_room():
    busy = node("a", holding("m", busy=2), holding("n", busy=1), cpu=0.9)
    idle, idler = (
        node(name, holding("m", ready=False), cpu=cpu) for name, cpu in (("b", 0.5), ("c", 0.1))
    )
    assert plan(busy, idle, idler) == [("load", "c", "m")]
    assert "90%" in plan_placement((busy, idle), TARGETS)[0].why


def test_processors_a_little_above_the_target_are_borne():
    busy = node("a", holding("m", busy=2), cpu=0.83)
    assert plan(busy, node("b", holding("m", ready=False))) == []


def test_from_full_memory_the_least_busy_model_moves_loaded_there_before_it_goes_here():
    full = node("a", holding("m", busy=1), holding("n", busy=0.1), memory=0.9)
    other = node("b", holding("m", ready=False), holding("n", ready=False))
    assert plan(full, other) == [("load", "b", "n"), ("unload", "a", "n")]


def test_what_is_spare_needs_not_be_loaded_elsewhere_first():
    full = node("a", holding("m"), memory=0.9)
    nodes = [full, node("b", holding("m")), node("c", holding("m"))]
    assert plan(*nodes) == [("unload", "a", "m")]
    assert plan(*nodes[:2], targets=Targets(replicas=1)) == [("unload", "a", "m")]


def test_full_memory_takes_no_model_below_the_replicas_that_are_kept():
    full = node("a", holding("m"), memory=0.9)
    both = [full, node("b", holding("m"))]
    assert plan(*both) == []
    assert plan(*both, node("c", holding("m", ready=False))) == [
        ("load", "c", "m"), ("unload", "a", "m"),
    ]  # fmt: skip
    full = node("a", holding("m"), holding("n", busy=1), memory=0.9)
    others = [node(name, holding("m", ready=name == "b"), holding("n")) for name in "bc"]
    assert plan(full, others[0], replace(others[1], memory=0.8)) == [("unload", "a", "n")]


def test_the_essential_do_not_move():
    full = node("a", holding("m", pinned=True), memory=0.9)
    assert plan(full, node("b", holding("m", ready=False))) == []


def test_a_node_without_room_or_without_the_version_takes_nothing():
    full = node("a", holding("m"), memory=0.9)
    asleep = holding("m", ready=False)
    assert plan(full, node("b", asleep, memory=0.75)) == [], "past its target"
    assert plan(full, node("b", asleep, free=GIB - 1)) == [], "past its budget"
    assert plan(full, node("b", asleep, limit=0)) == [], "nobody knows its memory"
    assert plan(full, node("b", asleep, cpu=0.7)) == [], "too busy"
    assert plan(full, node("b", replace(asleep, version="other"))) == []
    assert plan(full, node("b")) == []


def test_where_a_load_failed_the_next_node_is_taken():
    busy = node("a", holding("m", busy=2), cpu=0.9)
    nodes = [busy, *(node(name, holding("m", ready=False), cpu=0.1) for name in "bc")]
    key = busy.holdings[0].key
    assert plan(*nodes, avoided={("b", key)}) == [("load", "c", "m")]
    assert plan(*nodes, avoided={("b", key), ("c", key)}) == []
    assert plan(*nodes, avoided={("b", ("m", "other"))}) == [("load", "b", "m")]


def test_what_serves_all_the_same_is_counted_where_a_load_of_it_failed_before():
    full = node("a", holding("m"), memory=0.9)
    nodes = [full, node("b", holding("m")), node("c", holding("m"))]
    assert plan(*nodes, avoided={("b", full.holdings[0].key)}) == [("unload", "a", "m")]


def test_what_nobody_serves_any_more_is_loaded_first_on_the_least_busy_node_with_room():
    asleep = holding("m", ready=False)
    lost = {asleep.key: ["gone"]}
    crowded = node("a", holding("n"), asleep, memory=0.79)
    busy, busier = node("b", asleep, cpu=0.9), node("c", asleep, cpu=0.95)
    assert plan(crowded, busier, busy, lost=lost) == [("load", "b", "m")]
    assert plan(crowded, busier, busy, lost=lost, avoided={("b", asleep.key)}) == [
        ("load", "c", "m")
    ]
    assert "gone" in plan_placement([busy], TARGETS, lost=lost)[0].why
    assert plan(crowded, node("b"), lost=lost) == []
    assert plan(busy, node("c", holding("n", settled=False)), lost=lost) == []


def test_a_node_that_is_alone_gets_back_what_another_held_and_not_what_it_held_itself():
    alone = node("a", holding("m", ready=False))
    key = alone.holdings[0].key
    assert plan(alone, lost={key: ["b"]}) == [("load", "a", "m")]
    assert plan(alone, lost={key: ["a"]}) == []


def test_spare_replicas_go_where_all_have_little_to_do_and_some_are_kept():
    quiet = [node(name, holding("m"), cpu=0.1) for name in "abc"]
    quiet[1] = replace(quiet[1], memory=0.5)
    assert plan(*quiet) == [("unload", "b", "m")]
    assert plan(*quiet[:2]) == []
    quiet[0] = replace(quiet[0], cpu=0.4)
    assert plan(*quiet) == []


def test_while_something_comes_or_goes_nothing_is_planned():
    full = node("a", holding("m"), memory=0.9)
    moving = node("b", holding("m", ready=False, settled=False))
    assert plan(full, moving) == []


NAMES = ("m", "n", "o")
HOLDINGS = st.builds(
    Holding,
    st.sampled_from(NAMES),
    st.just("v"),
    st.booleans(),
    st.just(value=True),
    st.integers(1, 4 * GIB),
    st.floats(0, 3),
    st.booleans(),
)
NODES = st.lists(
    st.builds(
        Node,
        st.sampled_from("abcd"),
        st.floats(0, 1),
        st.floats(0, 1),
        st.just(10 * GIB),
        st.none() | st.integers(0, 10 * GIB),
        st.lists(HOLDINGS, unique_by=lambda one: one.key).map(tuple),
    ),
    unique_by=lambda one: one.address,
)


def after(nodes, step):
    """The nodes once a step is done; a loaded model takes its memory, processors stay."""

    def done(one):
        if one.address != step.address:
            return one
        there = one.holding((step.name, step.version))
        sign = 1 if step.action is Action.LOAD else -1
        holdings = tuple(
            replace(each, ready=step.action is Action.LOAD) if each is there else each
            for each in one.holdings
        )
        free = None if one.free_budget is None else one.free_budget - sign * there.memory
        memory = max(0.0, one.memory + sign * there.memory / one.memory_limit)
        return replace(one, holdings=holdings, memory=memory, free_budget=free)

    return [done(one) for one in nodes]


def ready(nodes):
    """How many nodes have each version ready."""
    return Counter(one.key for each in nodes for one in each.holdings if one.ready)


PLACES = st.frozensets(
    st.tuples(st.sampled_from("abcd"), st.tuples(st.sampled_from(NAMES), st.just("v")))
)


@given(NODES, PLACES, st.integers(0, 4), st.frozensets(st.sampled_from(NAMES)))
def test_plans_come_to_an_end_overfill_nobody_and_leave_the_replicas_that_are_kept(
    nodes, avoided, replicas, wanted
):
    targets = Targets(replicas=replicas)

    def planned():
        lost = {(name, "v"): ["gone"] for name in wanted if (name, "v") not in ready(nodes)}
        return plan_placement(nodes, targets, avoided=avoided, lost=lost)

    for _ in range(40):
        steps = planned()
        if not steps:
            break
        served = ready(nodes)
        for step in steps:
            if step.action is Action.LOAD:
                assert (step.address, step.key) not in avoided
            before = next(one for one in nodes if one.address == step.address)
            known = before.holding((step.name, step.version))
            assert known is not None
            assert known.ready == (step.action is Action.UNLOAD)
            assert not (known.pinned and step.action is Action.UNLOAD)
            nodes = after(nodes, step)
            changed = next(one for one in nodes if one.address == step.address)
            if step.action is Action.LOAD:
                assert changed.memory <= TARGETS.memory + 1e-6
                assert changed.free_budget is None or changed.free_budget >= 0
            left = ready(nodes)
            assert all(left[key] >= min(count, max(1, replicas)) for key, count in served.items())
            assert served.keys() <= left.keys() <= served.keys() | {(one, "v") for one in wanted}
    assert not planned()
