"""The strategy `learned`: chances from grades, bounded exploration, everything told and kept."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.selector.building import (
    answered,
    catalog_of,
    entry,
    failed,
    figures_of,
    planned,
    request_of,
    selector_of,
    served,
)
from tests.unit.selector.learned.prompts import SUMS, TALES, prompt

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import RoutingWishes
from llmrouter.common.prompt_features import features_of
from llmrouter.common.rating import Rating
from llmrouter.selector.decisions import record_of
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.prediction import Predictions
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.strategies import learned
from llmrouter.selector.strategy_settings import LearnedSettings

SMALL = entry("small", quality=0.5, input_price=1, output_price=1)
LARGE = entry("large", quality=0.6, input_price=50, output_price=50)
CATALOG = (SMALL, LARGE)
HELD = (served("small"), served("large"))
SURE = LearnedSettings(exploration=0)
CURIOUS = LearnedSettings(exploration=0.2, enough_grades=100)


def selector(**values):
    values = {"catalog": CATALOG, "learned": SURE, **values}
    return selector_of(HELD, **values)


def asked(kind=SUMS, place=0, **values):
    request = request_of(request_id=f"{kind}{place}", strategy="learned", **values)
    return request._replace(features=features_of(prompt(kind, place)))


def key(candidate):
    return candidate.endpoint


async def teach(one, count):
    """Both models answer sums and tales; the small one fails at sums."""
    for place in range(count):
        kind = (SUMS, TALES)[place % 2]
        plan_id, plan = one.select(asked(kind, place))
        for candidate in plan.candidates:
            one.report(plan_id, [(key(candidate), answered())])
            grade = float(candidate.model == "large" or kind == TALES)
            one.rate(Rating(plan_id, grade, candidate.model), "default")
    await one.teacher.idle()


async def test_grades_teach_which_prompts_the_cheap_model_answers_well():
    one = selector()
    assert one.select(asked(SUMS, 900))[1].candidates[0].model == "large"
    await teach(one, 100)

    _, sums = one.select(asked(SUMS, 901))
    _, tales = one.select(asked(TALES, 901))

    assert sums.candidates[0].model == "large"
    assert tales.candidates[0].model == "small"
    assert "is the cheapest of those that reach" in tales.reason
    assert "from 100 graded answers" in tales.candidates[0].components[0].explanation


async def test_chances_and_grades_are_in_the_record_and_the_choice_can_be_made_again():
    one = selector(learned=CURIOUS)
    await teach(one, 40)
    plan_id, plan = one.select(asked(TALES, 77))
    before = one.decision(plan_id).plan_again()
    await teach(one, 40)

    decision = one.decision(plan_id)
    record = record_of(plan_id, decision)

    assert decision.plan_again() == before == plan
    assert {told["grades"] for told in record["candidates"]} == {40}
    assert all(0 <= told["predicted"] <= 1 for told in record["candidates"])
    assert 0 < record["propensity"] <= 1
    assert record["explored"] in (True, False)
    assert record["grades"] == {}
    assert "sketch" not in str(record)


def explored(one, count, **wishes):
    return sum(
        record_of(plan_id, one.decision(plan_id))["explored"]
        for plan_id, _ in (one.select(asked(SUMS, place, **wishes)) for place in range(count))
    )


async def knowing_the_large_one(one):
    """Nothing is known of the small one, so that it is worth exploring."""
    for place in range(20):
        plan_id, _ = one.select(asked(place=place))
        one.rate(Rating(plan_id, 1.0, "large"), "default")
    await one.teacher.idle()
    return one


async def test_exploration_is_bounded_and_off_for_callers_who_opt_out():
    one = await knowing_the_large_one(selector(learned=CURIOUS))

    assert 30 < explored(one, 400) < 120
    assert explored(one, 400, no_exploration=True) == 0


async def test_the_same_question_explores_or_does_not_each_time_alike():
    one = await knowing_the_large_one(selector(learned=CURIOUS))
    for place in range(50):
        request = asked(SUMS, place)._replace(question_key=f"q{place}".encode())
        firsts = {one.select(request)[1].candidates[0].model for _ in range(3)}
        assert len(firsts) == 1


async def test_a_wish_for_quality_is_a_floor_for_the_chance_and_bounds_exploration_too():
    one = await knowing_the_large_one(selector(learned=CURIOUS))
    for place in range(100):
        _, plan = one.select(asked(SUMS, place, min_quality=0.55))
        assert [each.model for each in plan.candidates] == ["large"]
    with pytest.raises(RouterError) as caught:
        selector().select(asked(SUMS, 1, min_quality=0.9))
    assert caught.value.reason is Reason.NO_CANDIDATE
    assert "predicted quality 0.600 is below the required 0.900" in caught.value.message


def test_without_features_the_configured_quality_decides():
    one = selector()
    _, plan = one.select(request_of(strategy="learned"))
    assert plan.candidates[0].model == "large"
    one = selector(learned=LearnedSettings(exploration=0, tolerance=0.2))
    _, plan = one.select(request_of(strategy="learned"))
    assert plan.candidates[0].model == "small"


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 300)), min_size=3, max_size=3),
    st.permutations(["a", "b", "c"]),
    st.integers(0, 1000),
    st.floats(1e-3, 1e3),
)
def test_order_and_the_scale_of_prices_change_no_choice(known, names, draw, scale):
    known = dict(zip("abc", known, strict=True))
    strategy = learned(CURIOUS)

    def first(order, factor):
        prices = {name: factor * 2.0**place for place, name in enumerate("abc")}
        entries = [entry(n, input_price=prices[n], output_price=prices[n]) for n in order]

        def figures(view):
            told = [known[model.name] for model in view.models]
            chances, grades = (np.array(column, float) for column in zip(*told, strict=True))
            return figures_of(view, predicted=Predictions(chances, grades))

        plan = planned(catalog_of(*entries), strategy, figures=figures, request_id=str(draw))
        return plan.candidates[0].model

    assert first("abc", 1) == first(names, 1) == first("abc", scale)


async def test_a_new_model_joins_by_its_quality_and_one_that_went_is_no_candidate():
    held = list(HELD)
    one = selector_of(lambda: tuple(held), catalog=CATALOG, learned=SURE)
    await teach(one, 100)
    held.append(served("new"))
    plan_id, plan = one.select(asked(TALES, 5))
    told = {each["model"]: each for each in record_of(plan_id, one.decision(plan_id))["candidates"]}
    assert told["new"]["grades"] == 0
    assert told["new"]["predicted"] == pytest.approx(0.3)
    assert told["small"]["grades"] == 100
    held.pop(0)
    assert "small" not in {each.model for each in one.select(asked(TALES, 5))[1].candidates}
    assert plan.candidates[0].model == "small"


class Store:
    """Keeps documents as JSON would."""

    trouble = ""

    def __init__(self):
        self.kept = {}

    def put(self, kind, key, data):
        documents = self.kept.setdefault(kind, {})
        if data is None:
            documents.pop(key)
        else:
            documents[key] = data


def stored(store, **settings):
    return ModelSelector(
        SelectorSettings(catalog=CATALOG, **settings), lambda: HELD, store=store, wall=lambda: 5.0
    )


async def test_what_was_learned_outlives_a_restart():
    store = Store()
    await teach(stored(store, learned=SURE), 100)
    again = stored(store, learned=SURE)
    again.restore({**store.kept, "other": {}})
    await again.teacher.idle()

    assert again.select(asked(TALES, 901))[1].candidates[0].model == "small"
    assert again.select(asked(SUMS, 901))[1].candidates[0].model == "large"


async def test_the_store_is_as_bounded_as_the_memory():
    store = Store()
    await teach(stored(store, learned=LearnedSettings(examples=16)), 40)

    assert len(store.kept["graded"]) == 16


async def test_a_damaged_example_is_left_out_and_told(caplog):
    store = Store()
    await teach(stored(store, learned=SURE), 20)
    next(iter(store.kept["graded"].values()))["shape"] = "!"
    again = stored(store, learned=SURE)
    again.restore(store.kept)
    await again.teacher.idle()

    assert "is left out" in caplog.text
    assert again.teacher._learner.grades("large") == 19


def refusal(one, *rating, tenant="default"):
    with pytest.raises(RouterError) as caught:
        one.rate(Rating(*rating), tenant)
    return caught.value


def test_a_rating_needs_a_plan_of_its_tenant_and_a_model_of_the_plan():
    one = selector()
    plan_id, _ = one.select(asked())
    bare_id, _ = one.select(request_of())

    assert refusal(one, "no-such-plan", 1.0).reason is Reason.UNKNOWN_PLAN
    assert refusal(one, plan_id, 1.0, "large", tenant="other").reason is Reason.UNKNOWN_PLAN
    assert "of this plan are large, small" in refusal(one, plan_id, 1.0, "huge").message
    assert "none is known" in refusal(one, plan_id, 1.0).message
    assert "nothing can be learned" in refusal(one, bare_id, 1.0, "large").message


async def test_an_answer_that_was_reported_needs_no_name_but_several_do():
    one = selector()
    plan_id, plan = one.select(asked())
    first, second = plan.candidates
    one.report(plan_id, [(key(first), failed()), (key(second), answered())])
    assert one.rate(Rating(plan_id, 1.0), "default") == (second.model, 1)

    plan_id, plan = one.select(asked(place=1))
    one.report(plan_id, [(key(each), answered()) for each in plan.candidates])
    assert "2 answered: large, small" in refusal(one, plan_id, 1.0).message


async def test_a_later_grade_takes_the_place_of_the_earlier_one():
    one = selector()
    plan_id, _ = one.select(asked())
    one.rate(Rating(plan_id, 1.0, "large"), "default")
    assert one.rate(Rating(plan_id, 0.0, "large"), "default") == ("large", 1)
    assert record_of(plan_id, one.decision(plan_id))["grades"] == {"large": 0.0}


async def test_a_training_that_fails_leaves_what_was_known(caplog, monkeypatch):
    one = selector()
    await teach(one, 100)
    monkeypatch.setattr("llmrouter.selector.learned.learner.train", lambda *_: 1 / 0)
    await teach(one, 60)

    assert "could not be trained" in caplog.text
    assert one.select(asked(TALES, 901))[1].candidates[0].model == "small"


async def test_closing_waits_for_no_training(monkeypatch):
    one = selector()
    waits = partial(__import__("time").sleep, 0.5)
    monkeypatch.setattr("llmrouter.selector.learned.learner.train", lambda *_: waits())
    for place in range(16):
        plan_id, _ = one.select(asked(place=place))
        one.rate(Rating(plan_id, 1.0, "large"), "default")
    await one.teacher.close()

    assert one.teacher._training is None


def test_wishes_default_to_exploration():
    assert not RoutingWishes().no_exploration
