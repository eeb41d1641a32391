"""Connections that say nothing make room for others."""

from hypothesis import given
from hypothesis import strategies as st

from llmrouter.gateway.http.crowd import Crowd

MOST = 3
STEPS = st.lists(st.tuples(st.sampled_from(["came", "asked", "answered", "left"]), st.integers(0)))


class Connection:
    def __init__(self, crowd):
        self.crowd, self.busy, self.gone = crowd, False, False

    def let_go(self):
        assert not self.busy
        assert not self.gone
        self.gone = True


def came(crowd, count=1):
    connections = [Connection(crowd) for _ in range(count)]
    for one in connections:
        crowd.came(one)
    return connections


def test_the_one_that_is_silent_for_longest_makes_room():
    crowd = Crowd(MOST)
    first, second, third = came(crowd, MOST)
    crowd.asked(first)
    came(crowd)
    assert [one.gone for one in (first, second, third)] == [False, True, False]
    crowd.left(second)
    crowd.answered(first)
    came(crowd, 2)
    assert [one.gone for one in (first, third)] == [False, True]


def test_none_is_let_go_on_which_something_is_answered():
    crowd = Crowd(MOST)
    busy = came(crowd, MOST)
    for one in busy:
        crowd.asked(one)
    came(crowd, 2)
    assert not any(one.gone for one in busy)


@given(STEPS)
def test_there_are_never_more_than_the_bound_and_those_that_are_busy(steps):
    crowd, connected = Crowd(MOST), []
    for step, number in steps:
        if step == "came":
            connected += came(crowd)
        elif connected:
            one = connected[number % len(connected)]
            if step == "left":
                one.gone = True
                crowd.left(one)
            elif (step == "asked") != one.busy:
                one.busy = not one.busy
                getattr(crowd, step)(one)
        for one in [one for one in connected if one.gone and step != "left"]:
            crowd.left(one)
        connected = [one for one in connected if not one.gone]
        assert len(connected) <= max(MOST, sum(one.busy for one in connected) + 1)
