"""What failed somewhere is left alone there for a while, and not for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.selector.test_placement import holding, node

from llmrouter.selector import placement_setbacks
from llmrouter.selector.placement_setbacks import Setbacks

KEY = holding("m").key


def asleep(**values):
    return node("a", holding("m", ready=False, **values))


def test_a_load_that_failed_is_held_against_its_place_alone_and_for_a_while():
    setbacks = Setbacks(10)
    setbacks.failed("a", KEY, now=100)
    assert setbacks.avoided(109) == {("a", KEY)}
    assert setbacks.take([asleep()], 109) == ()
    assert setbacks.avoided(110) == set()


def test_one_that_fails_again_is_held_against_its_place_anew():
    setbacks = Setbacks(10)
    setbacks.failed("a", KEY, now=100)
    setbacks.failed("a", KEY, now=110)
    assert setbacks.avoided(119) == {("a", KEY)}


def test_what_a_service_tells_as_failed_counts_from_when_it_was_heard_first():
    setbacks = Setbacks(10)
    assert setbacks.take([asleep(failed=True)], 100) == (("a", KEY),)
    assert setbacks.avoided(109) == {("a", KEY)}
    assert setbacks.take([asleep(failed=True)], 110) == (), "told once"
    assert setbacks.avoided(110) == set(), "and tried again after a while"


def test_what_serves_or_lies_there_no_more_is_forgotten_at_once():
    for nodes in ([node("a", holding("m"))], [node("a")]):
        setbacks = Setbacks(10)
        setbacks.failed("a", KEY, now=100)
        assert setbacks.take([], 101) == (), "who is silent has said nothing"
        assert setbacks.avoided(101)
        setbacks.take(nodes, 101)
        assert not setbacks.avoided(101)


def test_no_more_are_remembered_than_the_bound(monkeypatch):
    monkeypatch.setattr(placement_setbacks, "_MOST", 2)
    setbacks = Setbacks(10)
    for address in "abc":
        setbacks.failed(address, KEY, now=0)
    assert setbacks.avoided(1) == {("b", KEY), ("c", KEY)}


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.floats(0, 100)), max_size=20),
    st.floats(0, 100),
)
def test_nothing_is_held_against_a_place_for_longer_than_was_said(events, seconds):
    setbacks, now = Setbacks(seconds), 0.0
    for address, tried, passed in events:
        now += passed
        setbacks.take([node(address, holding("m", ready=False, failed=True))], now)
        # Nobody tries where nobody may.
        if tried and (address, KEY) not in setbacks.avoided(now):
            setbacks.failed(address, KEY, now)
    assert not setbacks.avoided(now + seconds)
