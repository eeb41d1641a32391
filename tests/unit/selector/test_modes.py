"""Cascades and ensembles: who is planned with, in which order, and what is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.selector.building import (
    catalog_of,
    chosen,
    entry,
    planned,
    request_of,
    selector_of,
    served,
)

from llmrouter.common.ensemble import Election, EnsembleWish
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.plan_mode import PlanMode
from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.decisions import record_of
from llmrouter.selector.selection import Policy
from llmrouter.selector.strategies import BALANCED, CASCADE, load_strategies

TELLING = frozenset({"chat", "completion", "logprobs"})
SILENT = frozenset({"chat", "completion"})


def priced(name, quality, price):
    return entry(name, quality=quality, input_price=price, output_price=price)


def catalog(*entries, silent=()):
    held = [
        served(one.name, capabilities=SILENT if one.name in silent else TELLING) for one in entries
    ]
    return build_catalog(entries, held)


SMALL, MIDDLE, LARGE = priced("small", 0.3, 1), priced("middle", 0.5, 5), priced("large", 0.9, 50)
POOR = priced("poor", 0.2, 20)


def names(plan):
    return [one.model for one in plan.candidates]


def cascade(*entries, policy=None, silent=(), **request):
    return planned(catalog(*entries, silent=silent), CASCADE, policy=policy, **request)


def test_a_cascade_goes_from_cheap_to_dear_and_only_to_the_better():
    plan = cascade(LARGE, SMALL, POOR, MIDDLE)
    assert names(plan) == ["small", "middle", "large"]
    assert plan.mode is PlanMode.CASCADE
    assert (
        plan.reason == "small is asked first, as the cheapest; unless it is sure, middle then large"
    )
    assert "would add nothing" in plan.exclusions[0].reason


def test_a_full_cascade_keeps_its_beginning_and_its_best():
    assert names(cascade(LARGE, SMALL, MIDDLE, policy=Policy(fallbacks=1))) == ["small", "large"]
    assert names(cascade(LARGE, SMALL, MIDDLE, policy=Policy(fallbacks=0))) == ["small", "large"]


def test_of_models_at_one_price_the_best_stands_for_all():
    assert names(cascade(priced("a", 0.3, 1), priced("b", 0.6, 1), LARGE)) == ["b", "large"]


def test_one_whose_answer_cannot_be_judged_may_only_come_last():
    assert names(cascade(SMALL, MIDDLE, LARGE, silent=["middle"])) == ["small", "large"]
    assert names(cascade(SMALL, LARGE, silent=["small"])) == ["large"]
    assert names(cascade(SMALL, LARGE, silent=["large"])) == ["small", "large"]


def test_a_cascade_of_one_says_why():
    plan = cascade(SMALL, priced("twin", 0.3, 1))
    assert len(plan.candidates) == 1
    assert "is asked alone" in plan.reason


def test_the_ceiling_holds_for_all_that_may_be_asked():
    costs = [one.estimated_cost for one in cascade(SMALL, MIDDLE, LARGE).candidates]
    both = costs[1] + costs[2]
    assert names(cascade(SMALL, MIDDLE, LARGE, max_cost=sum(costs) * 1.001)) == [
        "small", "middle", "large",
    ]  # fmt: skip
    assert names(cascade(SMALL, MIDDLE, LARGE, max_cost=both * 1.001)) == ["middle", "large"]
    assert names(cascade(SMALL, MIDDLE, LARGE, max_cost=costs[2] * 1.001)) == ["large"]
    assert names(cascade(SMALL, MIDDLE, LARGE, max_cost=costs[1] * 1.001)) == ["middle"]


entries = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 100), st.booleans()), min_size=1, max_size=8
)


@given(entries, st.integers(0, 4), st.floats(0, 0.05))
def test_every_stage_is_dearer_and_better_and_no_plan_is_above_its_ceiling(told, fallbacks, most):
    made = [priced(f"m{place}", *one[:2]) for place, one in enumerate(told)]
    silent = [f"m{place}" for place, one in enumerate(told) if one[2]]
    try:
        choice = chosen(
            catalog(*made, silent=silent), CASCADE, policy=Policy(fallbacks), max_cost=most
        )
    except RouterError as error:
        assert error.reason is Reason.NO_CANDIDATE  # noqa: PT017 - the other way is a choice
        return
    rows = [row for row, _ in choice.picked]
    view = choice.frame.view
    assert 1 <= len(rows) <= max(2, fallbacks + 1)
    for before, after in pairwise(rows):
        assert choice.frame.cost[before] <= choice.frame.cost[after]
        assert view.quality[before] < view.quality[after]
        assert view.models[before].name not in silent
    assert not most or sum(choice.frame.cost[row] for row in rows) <= most


def ensemble(count=2, election=Election.VOTE, judge=""):
    return EnsembleWish(count, election, judge)


def test_an_ensemble_takes_the_first_by_the_strategy_each_once():
    held = [served(name, address=f"h:{place}") for place in (1, 2) for name in ("a", "b", "c")]
    entries = (priced("a", 0.9, 1), priced("b", 0.5, 1), priced("c", 0.1, 1))
    plan = planned(build_catalog(entries, held), BALANCED, ensemble=ensemble(2))
    assert names(plan) == ["a", "b"]
    assert plan.mode is PlanMode.ENSEMBLE
    assert plan.reason == "a, b answer side by side"
    assert "the plan is full" in plan.exclusions[0].reason


def test_an_ensemble_may_have_more_models_than_a_plan_has_fallbacks():
    made = [priced(f"m{place}", 0.5, 1) for place in range(8)]
    plan = planned(catalog(*made), BALANCED, policy=Policy(fallbacks=1), ensemble=ensemble(8))
    assert len(plan.candidates) == 8


def test_the_wish_for_an_ensemble_stands_above_the_mode_of_a_strategy():
    plan = planned(catalog(SMALL, MIDDLE, LARGE), CASCADE, ensemble=ensemble(2))
    assert (plan.mode, names(plan)) == (PlanMode.ENSEMBLE, ["small", "middle"])


def refusal(*entries, **wishes):
    with pytest.raises(RouterError) as caught:
        planned(catalog(*entries), BALANCED, **wishes)
    assert caught.value.reason is Reason.NO_CANDIDATE
    return caught.value.message


def test_an_ensemble_of_more_than_may_answer_is_refused_with_those():
    told = "of 3 models was asked for; only 2 may answer: large, small"
    assert told in refusal(SMALL, LARGE, ensemble=ensemble(3))


def test_an_ensemble_above_the_ceiling_is_refused_with_its_cost():
    twin = priced("twin", 0.3, 1)
    cost = planned(catalog(SMALL), BALANCED).candidates[0].estimated_cost
    told = refusal(SMALL, twin, ensemble=ensemble(2), max_cost=1.5 * cost)
    assert f"the ensemble's estimated cost ${2 * cost:.3g} is above" in told


def test_vectors_come_from_one_model_by_any_strategy():
    held = [served("mini", address=f"h:{n}", capabilities=frozenset({"embedding"})) for n in (1, 2)]
    plan = planned(build_catalog((), held), CASCADE, capabilities={"embedding"})
    assert (plan.mode, names(plan)) == (PlanMode.FIRST_OF, ["mini", "mini"])


def test_cascade_is_a_strategy_and_its_choice_is_replayed_in_its_mode():
    assert "cascade" in load_strategies()
    held = [served(name, capabilities=TELLING) for name in ("small", "large")]
    selector = selector_of(held, catalog=(SMALL, LARGE))
    plan_id, plan = selector.select(request_of(strategy="cascade"))
    decision = selector.decision(plan_id)
    assert decision.plan_again() == plan
    assert record_of(plan_id, decision)["mode"] == "cascade"


def test_all_that_an_ensemble_asks_is_estimated():
    held = [served("small"), served("large")]
    selector = selector_of(held, catalog=(SMALL, LARGE))
    _, plan = selector.select(request_of(ensemble=ensemble(2)))
    spent = {name: account.estimated for name, account in selector.costs.accounts("model")}
    assert spent == {one.model: one.estimated_cost for one in plan.candidates}


def test_a_catalog_of_one_is_a_cascade_too():
    assert names(planned(catalog_of(SMALL), CASCADE)) == ["small"]
