"""Who is picked by chance and cost, and when a model is explored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.selector.learned.policy import NEVER, Exploration, pick

OFTEN = Exploration(ceiling=0.1, enough=100)
option = st.tuples(st.floats(0, 1), st.integers(0, 500), st.floats(0, 10))
options = st.lists(option, min_size=1, max_size=6)
PAIR = [(0.6, 1000, 1.0), (0.9, 1000, 10.0)]
WEAK, STRONG = 0, 1


def picked(given, **wishes):
    chances, grades, costs = (np.array(column, float) for column in zip(*given, strict=True))
    return pick(chances, grades, costs, **wishes)


def first(given, **wishes):
    return picked(given, **wishes).first.nonzero()[0].tolist()


def test_the_cheapest_that_clears_the_wish_answers():
    assert first(PAIR, min_quality=0.5) == [WEAK]
    assert first(PAIR, min_quality=0.7) == [STRONG]


def test_the_best_comes_first_when_none_clears_the_wish():
    assert first(PAIR, min_quality=0.95) == [STRONG]
    assert not picked(PAIR, min_quality=0.95).cleared


def test_without_a_wish_the_cheaper_one_may_be_as_much_worse_as_is_tolerated():
    assert first(PAIR, tolerance=0.29) == [STRONG]
    assert first(PAIR, tolerance=0.31) == [WEAK]


def test_the_better_of_two_that_cost_the_same_answers():
    assert first([(0.8, 9, 1.0), (0.81, 9, 1.0)]) == [1]


def test_between_those_that_are_alike_in_all_the_draw_of_the_picker_decides():
    assert first([(0.8, 9, 1.0), (0.8, 9, 1.0), (0.1, 9, 2.0)]) == [0, 1]


def test_no_option_is_an_error():
    with pytest.raises(ValueError, match="no option"):
        pick(np.array([]), np.array([]), np.array([]))


@given(options, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_somebody_comes_first_and_the_order_given_does_not_matter(given, wish, slack, draw):
    wishes = {"min_quality": wish, "tolerance": slack, "exploration": OFTEN, "draw": draw}
    one, turned = picked(given, **wishes), picked(given[::-1], **wishes)

    assert one.first.any()
    assert one.first.tolist() == turned.first.tolist()[::-1]
    assert (one.explored, one.propensity) == (turned.explored, turned.propensity)


@given(options, st.floats(0, 1), st.floats(0, 1))
def test_nobody_cheaper_than_the_chosen_one_clears_the_wish(given, wish, slack):
    found = picked(given, min_quality=wish, tolerance=slack)
    chance, _, cost = given[found.first.nonzero()[0][0]]

    for other, _, price in given:
        assert price >= cost or other < found.needed or chance < found.needed


@given(options, st.floats(0, 1, exclude_max=True))
def test_callers_who_opt_out_are_never_explored_with(given, draw):
    found = picked(given, exploration=NEVER, draw=draw)

    assert not found.explored
    assert found.propensity == 1


@given(options)
def test_no_more_than_the_ceiling_is_explored(given):
    explored = [picked(given, exploration=OFTEN, draw=place / 200).explored for place in range(200)]

    assert sum(explored) <= 200 * OFTEN.ceiling


def test_a_model_is_explored_less_the_more_is_known_of_it():
    def share(grades):
        return picked([(0.9, 1000, 1), (0.2, grades, 1)], exploration=OFTEN, draw=0.0)

    assert share(0).propensity == pytest.approx(0.1)
    assert share(50).propensity == pytest.approx(0.05)
    assert not share(100).explored


def test_the_propensity_is_that_of_the_draw():
    given = [(0.9, 1000, 1), (0.2, 0, 1)]

    assert first(given, exploration=OFTEN, draw=0.05) == [1]
    assert first(given, exploration=OFTEN, draw=0.5) == [0]
    assert picked(given, exploration=OFTEN, draw=0.5).propensity == pytest.approx(0.9)
