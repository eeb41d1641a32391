"""Who is chosen by chance and cost, and when a model is explored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.selector.learned.chances import Chance
from llmrouter.selector.learned.policy import NEVER, Exploration, Option, choose

OFTEN = Exploration(ceiling=0.1, enough=100)
options = st.lists(
    st.builds(
        Option,
        model=st.text("abcdef", min_size=1, max_size=4),
        chance=st.builds(Chance, st.floats(0, 1), st.integers(0, 500)),
        cost=st.floats(0, 10),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda one: one.model,
)


def option(model, chance, cost, grades=1000):
    return Option(model, Chance(chance, grades), cost)


PAIR = [option("weak", 0.6, 1), option("strong", 0.9, 10)]


def first(*given, **wishes):
    return choose(*given, **wishes).ordered[0].model


def test_the_cheapest_that_clears_the_wish_answers():
    assert first(PAIR, min_quality=0.5) == "weak"
    assert first(PAIR, min_quality=0.7) == "strong"


def test_the_best_comes_first_when_none_clears_the_wish():
    chosen = choose(PAIR, min_quality=0.95)

    assert chosen.ordered[0].model == "strong"
    assert "nearest" in chosen.reason


def test_without_a_wish_the_cheaper_one_may_be_as_much_worse_as_is_tolerated():
    assert first(PAIR, tolerance=0.29) == "strong"
    assert first(PAIR, tolerance=0.31) == "weak"


def test_the_better_of_two_that_cost_the_same_answers():
    assert first([option("a", 0.8, 1), option("b", 0.81, 1)]) == "b"


def test_no_option_is_an_error():
    with pytest.raises(ValueError, match="no option"):
        choose([])


@given(options, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_every_option_is_kept_once_and_the_order_given_does_not_matter(given, wish, slack, draw):
    wishes = {"min_quality": wish, "tolerance": slack, "exploration": OFTEN, "draw": draw}
    chosen = choose(given, **wishes)

    assert sorted(one.model for one in chosen.ordered) == sorted(one.model for one in given)
    assert choose(given[::-1], **wishes) == chosen


@given(options, st.floats(0, 1), st.floats(0, 1))
def test_nobody_cheaper_than_the_chosen_one_clears_the_wish(given, wish, slack):
    chosen = choose(given, min_quality=wish, tolerance=slack).ordered[0]
    needed = wish or max(one.chance.value for one in given) - slack

    for one in given:
        assert one.cost >= chosen.cost or one.chance.value < needed or chosen.chance.value < needed


@given(options, st.floats(0, 1, exclude_max=True))
def test_callers_who_opt_out_are_never_explored_with(given, draw):
    chosen = choose(given, exploration=NEVER, draw=draw)

    assert not chosen.explored
    assert chosen.propensity == 1


@given(options)
def test_no_more_than_the_ceiling_is_explored(given):
    explored = [choose(given, exploration=OFTEN, draw=place / 200).explored for place in range(200)]

    assert sum(explored) <= 200 * OFTEN.ceiling


def test_a_model_is_explored_less_the_more_is_known_of_it():
    def share(grades):
        given = [option("known", 0.9, 1), option("new", 0.2, 1, grades)]
        return choose(given, exploration=OFTEN, draw=0.0).propensity

    assert share(0) == pytest.approx(0.1)
    assert share(50) == pytest.approx(0.05)
    assert not choose(
        [option("known", 0.9, 1), option("new", 0.2, 1, 100)], exploration=OFTEN, draw=0.0
    ).explored


def test_the_propensity_is_that_of_the_draw():
    given = [option("known", 0.9, 1), option("new", 0.2, 1, 0)]

    assert choose(given, exploration=OFTEN, draw=0.05).ordered[0].model == "new"
    kept = choose(given, exploration=OFTEN, draw=0.5)
    assert (kept.ordered[0].model, kept.propensity) == ("known", pytest.approx(0.9))
