"""What served is missed where its holders are gone, and not where somebody wanted it gone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.selector.test_placement import NODES, holding, node

from llmrouter.selector import placement_kept
from llmrouter.selector.placement_kept import Kept

KEY = holding("m").key
SERVING = node("a", holding("m"))
ASLEEP = node("a", holding("m", ready=False))
OTHER = node("b", holding("m", ready=False))


def kept(*looks, seconds=0):
    """One that has looked at lists of nodes."""
    made = Kept(seconds)
    for nodes in looks:
        made.take(nodes, 0)
    return made


def again(one):
    return replace(one, returns=one.returns + 1)


def test_what_served_is_lost_while_its_last_holder_is_silent():
    one = kept([SERVING, OTHER])
    assert one.take([OTHER], 1) == {KEY: ["a"]}
    assert one.take([again(SERVING), OTHER], 2) == {}


def test_it_is_lost_only_once_it_was_missed_for_so_long():
    one = kept([SERVING, OTHER], seconds=10)
    assert one.take([OTHER], 100) == {}
    assert one.take([OTHER], 109) == {}
    assert one.take([OTHER], 110) == {KEY: ["a"]}
    assert one.take([SERVING, OTHER], 111) == {}
    assert one.take([OTHER], 112) == {}, "missed anew"


def test_what_requests_load_is_as_good_as_ready():
    waiting = node("a", holding("m", ready=False, on_demand=True))
    one = kept([SERVING, OTHER], [waiting, OTHER])
    assert one.take([OTHER], 1) == {KEY: ["a"]}


def test_what_never_served_is_not_missed():
    assert kept([ASLEEP, OTHER]).take([OTHER], 1) == {}


def test_what_somebody_unloaded_or_took_away_is_not_missed_not_even_once_its_service_is_gone():
    going = node("a", holding("m", ready=False, settled=False))
    for gone in (ASLEEP, node("a")):
        one = kept([SERVING, OTHER], [going, OTHER], [gone, OTHER])
        assert one.take([OTHER], 1) == {}


def test_the_last_holder_that_somebody_unloaded_ends_the_claims_of_those_before():
    both = [SERVING, node("b", holding("m"))]
    assert kept(both, both[:1], [ASLEEP]).take([ASLEEP], 1) == {}


def test_where_placement_unloaded_it_the_others_decide():
    one = kept([SERVING, node("b", holding("m"))])
    one.unloaded("a", KEY)
    assert one.take([ASLEEP], 1) == {KEY: ["b"]}
    alone = kept([SERVING, OTHER])
    alone.unloaded("a", KEY)
    assert alone.take([ASLEEP, OTHER], 1) == {}


def test_a_service_started_anew_without_it_is_believed_unless_placement_had_loaded_it_there():
    one = kept([SERVING, OTHER])
    assert one.take([again(ASLEEP), OTHER], 1) == {}
    assert one.take([OTHER], 2) == {}
    placed = Kept(0)
    placed.loaded(ASLEEP, KEY)
    placed.take([SERVING, OTHER], 0)
    assert placed.take([again(ASLEEP), OTHER], 1) == {KEY: ["a"]}
    assert placed.take([again(ASLEEP), OTHER], 2) == {KEY: ["a"]}


def two_selectors():
    """Two that tell each other what placement did."""
    first = Kept(0, lambda place, placed: second.told(place, placed=placed))
    second = Kept(0, lambda place, placed: first.told(place, placed=placed))
    return first, second


def look(selectors, nodes):
    return [one.take(nodes, 0) for one in selectors]


def test_another_selector_misses_what_placement_had_loaded_where_a_service_came_back_without_it():
    first, second = both = two_selectors()
    look(both, [ASLEEP, OTHER])
    first.loaded(ASLEEP, KEY)
    look(both, [SERVING, OTHER])
    assert second.take([again(ASLEEP), OTHER], 1) == {KEY: ["a"]}


def test_it_is_told_so_before_it_sees_that_the_version_is_ready_there():
    first, second = two_selectors()
    first.loaded(ASLEEP, KEY)
    for nodes in ([ASLEEP, OTHER], [SERVING, OTHER], [OTHER]):
        second.take(nodes, 0)
    assert second.take([again(ASLEEP), OTHER], 1) == {KEY: ["a"]}


def test_what_became_of_it_since_counts_for_the_other_selector_as_well():
    gone = [node("a"), OTHER]
    for undo in (
        lambda one: one.unloaded("a", KEY),  # by placement
        lambda one: one.take([ASLEEP, OTHER], 0),  # by somebody
        lambda one: one.take([ASLEEP, node("b", holding("m"))], 0),  # while another offers it
        lambda one: one.take(gone, 0),  # with its folder
    ):
        [first, _] = both = two_selectors()
        first.loaded(ASLEEP, KEY)
        look(both, [SERVING, OTHER])
        undo(first)
        look(both, [SERVING, OTHER])  # by somebody's will this time
        assert look(both, [again(ASLEEP), OTHER]) == [{}, {}]


def test_no_more_of_what_placement_loaded_is_remembered_than_the_bound(monkeypatch):
    monkeypatch.setattr(placement_kept, "_MOST", 2)
    told = []
    one = Kept(0, lambda place, placed: told.append((place[0], placed)))
    for name in "abc":
        one.loaded(node(name), KEY)
    assert told == [("a", True), ("b", True), ("a", False), ("c", True)]


def test_one_that_still_loads_or_could_not_load_it_has_not_given_it_up():
    for there in (
        node("a", holding("m", ready=False, failed=True)),
        node("a", holding("m", ready=False, settled=False)),
        replace(node("a"), coming=True, returns=1),
    ):
        assert kept([SERVING, OTHER]).take([there, OTHER], 1) == {KEY: ["a"]}


def test_no_more_are_remembered_than_the_bound(monkeypatch):
    monkeypatch.setattr(placement_kept, "_MOST", 2)
    one = kept([node("a", *(holding(name) for name in "mno"))])
    assert [name for name, _ in one.take([], 1)] == ["n", "o"]


@given(st.lists(NODES, max_size=6))
def test_what_is_lost_served_before_and_is_offered_by_nobody(looks):
    one, served = Kept(0), set()
    for nodes in looks:
        lost = one.take(nodes, 0)
        offered = {each.key for node in nodes for each in node.holdings if each.offered}
        served |= offered
        assert lost.keys() <= served - offered
        assert all(lost.values())


@given(st.lists(st.lists(st.booleans(), min_size=2, max_size=2), max_size=8))
def test_while_nobody_falls_silent_all_that_comes_and_goes_does_so_by_somebodys_will(looks):
    one = Kept(0)
    for states in looks:
        nodes = [node(name, holding("m", ready=on)) for name, on in zip("ab", states, strict=True)]
        assert one.take(nodes, 0) == {}
