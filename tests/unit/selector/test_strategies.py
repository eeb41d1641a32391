"""What every strategy promises, whatever the catalog, and how strategies are composed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.selector.building import (
    answered,
    catalog_of,
    chosen,
    entry,
    failed,
    figures_of,
    planned,
    selector_of,
    served,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.plan import Selection
from llmrouter.selector.prediction import Predictions
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.statistics import StatisticsBook
from llmrouter.selector.strategies import (
    BUILT_IN,
    COST_OPTIMIZED,
    LEAST_LOADED,
    RANDOM,
    WEIGHTED,
    Strategy,
    find_strategy,
    load_strategies,
)
from llmrouter.selector.strategy_settings import StrategySettings

NAMES = "abcdefgh"
MODELS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(NAMES),
            "configured": st.booleans(),
            "state": st.sampled_from(["ready", "ready", "loading", "loading again", "silent"]),
            "draining": st.booleans(),
            "quality": st.floats(0, 1),
            "price": st.floats(0, 1000),
            "weight": st.floats(0, 10),
            "context": st.integers(0, 10_000),
            "waiting": st.integers(0, 100),
            "talks": st.booleans(),
            "replicas": st.integers(1, 3),
        }
    ),
    max_size=8,
    unique_by=lambda model: model["name"],
)
REQUESTS = st.fixed_dictionaries(
    {
        "prompt_bytes": st.one_of(st.integers(0, 30_000), st.integers(0, 1 << 30)),
        "max_tokens": st.one_of(st.integers(0, 500), st.integers(0, 1_000_000)),
        "min_quality": st.one_of(st.just(0.0), st.floats(0, 1)),
        "max_cost": st.one_of(st.just(0.0), st.floats(0, 1)),
        "max_latency": st.one_of(st.just(0.0), st.floats(0, 60)),
        "capabilities": st.sampled_from([frozenset(), frozenset({"chat"})]),
        "question_key": st.binary(max_size=4),
        "conversation_key": st.binary(max_size=2),
        "n": st.integers(1, 3),
    }
)
OUTCOMES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.booleans(), st.floats(1e-6, 1e6)), max_size=9
)
ALL = pytest.mark.parametrize("strategy", BUILT_IN, ids=lambda one: one.name)


def built(models):
    entries, held = [], []
    for one in models:
        if one["configured"]:
            prices = {"input_price": one["price"], "output_price": one["price"]}
            told = {"quality": one["quality"], "weight": one["weight"]}
            entries.append(entry(one["name"], **told, **prices))
        capabilities = frozenset({"chat", "completion"} if one["talks"] else {"completion"})
        held += [
            served(
                one["name"],
                address=f"host:{number}",
                version="" if one["state"] == "loading" else "v1",
                ready=one["state"] == "ready",
                silent=one["state"] == "silent",
                draining=one["draining"],
                context=one["context"],
                waiting=one["waiting"],
                capabilities=capabilities,
            )
            for number in range(one["replicas"])
        ]
    return entries, held


def book_of(outcomes):
    book = StatisticsBook(60)
    for name, bad, value in outcomes:
        outcome = failed() if bad else answered(first=value, per_token=value)
        book.observe((name, "v1", "host:0"), outcome, now=0.0)
    return book


@ALL
@settings(max_examples=30, deadline=None)
@given(MODELS, REQUESTS, OUTCOMES)
def test_every_plan_tells_of_each_model_once_with_values_from_0_to_1(
    strategy, models, request, outcomes
):
    catalog, book = build_catalog(*built(models)), book_of(outcomes)
    try:
        plan = planned(catalog, strategy, book, **request)
    except RouterError as error:
        floor = max(request["min_quality"], strategy.min_quality)
        hope = any(
            model.loading and model.quality >= floor and model.may_do(request["capabilities"])
            for model in catalog.models
        )
        final = {Reason.NO_CANDIDATE, Reason.CONTEXT_TOO_LONG}
        assert error.reason in ({Reason.MODEL_UNAVAILABLE} if hope else final)  # noqa: PT017
        return
    candidates = list(dict.fromkeys(one.model for one in plan.candidates))
    told = Counter([*candidates, *(one.model for one in plan.exclusions)])
    assert told == Counter(model.name for model in catalog.models)
    assert 1 <= len(plan.candidates) <= 3
    assert len({one.endpoint for one in plan.candidates}) == len(plan.candidates)
    assert all(one.reason for one in plan.exclusions)
    values = [part.value for one in plan.candidates for part in one.components]
    assert all(0 <= value <= 1 for value in values)
    if strategy.picker == "best":
        places = [(not one.probably_fits, -one.score) for one in plan.candidates]
        assert places == sorted(places)
    serving = {
        model.name
        for model in catalog.models
        if not model.away and not all(one.draining for one in model.endpoints)
    }
    assert len({bool(one.away) for one in plan.candidates}) == 1
    assert all((one.model in serving) is not bool(one.away) for one in plan.candidates)
    assert plan == planned(catalog, strategy, book, **request)


@ALL
@settings(max_examples=30, deadline=None)
@given(MODELS, REQUESTS)
def test_no_plan_has_a_model_that_fails_a_condition(strategy, models, request):
    catalog = build_catalog(*built(models))
    try:
        choice = chosen(catalog, strategy, **request)
    except RouterError:
        return
    view = choice.frame.view
    floor = max(request["min_quality"], strategy.min_quality)
    for row in choice.order.tolist():
        model = view.models[row]
        assert request["capabilities"] <= model.capabilities
        assert model.quality >= floor
        resting = model.away or all(one.draining for one in model.endpoints)
        assert choice.frame.away[row] == resting
        assert not request["max_cost"] or choice.frame.cost[row] <= request["max_cost"]
    for _, place in choice.picked:
        assert choice.frame.away[view.row_of[place]] or not view.draining[place]


@ALL
@settings(max_examples=30, deadline=None)
@given(MODELS, REQUESTS, st.randoms())
def test_the_order_of_the_catalog_changes_no_plan(strategy, models, request, dice):
    entries, held = built(models)
    shuffled = dice.sample(entries, len(entries)), dice.sample(held, len(held))
    plans = []
    for catalog in (build_catalog(entries, held), build_catalog(*shuffled)):
        try:
            plans.append(planned(catalog, strategy, **request))
        except RouterError as error:
            plans.append(error.message)
    assert plans[0] == plans[1]


@ALL
@settings(max_examples=30, deadline=None)
@given(MODELS, REQUESTS, st.sampled_from([0.5, 2.0, 8.0]))
def test_multiplying_all_weights_changes_no_order(strategy, models, request, factor):
    catalog = build_catalog(*built(models))
    weights = {name: weight * factor for name, weight in strategy.weights.items()}
    try:
        first = chosen(catalog, strategy, **request)
    except RouterError:
        return
    second = chosen(catalog, replace(strategy, weights=weights), **request)
    assert first.order.tolist() == second.order.tolist()


@given(MODELS, st.sampled_from([0.25, 0.5, 2.0, 16.0]))
def test_multiplying_all_prices_changes_no_order_of_cost_optimized(models, factor):
    models = [{**one, "configured": True, "price": max(0.01, one["price"])} for one in models]
    dearer = [{**one, "price": one["price"] * factor} for one in models]
    try:
        first = chosen(build_catalog(*built(models)), COST_OPTIMIZED)
    except RouterError:
        return
    assert (
        first.order.tolist() == chosen(build_catalog(*built(dearer)), COST_OPTIMIZED).order.tolist()
    )


@ALL
def test_equal_models_are_first_equally_often(strategy):
    catalog = catalog_of(*(entry(name) for name in "abcd"))
    first = Counter(
        planned(catalog, strategy, question_key=str(number).encode()).candidates[0].model
        for number in range(800)
    )
    assert set(first) == set("abcd")
    assert all(140 < count < 260 for count in first.values())


@ALL
def test_the_same_question_is_drawn_the_same(strategy):
    catalog = catalog_of(*(entry(name) for name in NAMES))
    for number in range(20):
        key = str(number).encode()
        plans = [
            planned(catalog, strategy, question_key=key, request_id=request_id)
            for request_id in ("one", "two")
        ]
        assert plans[0] == plans[1]


def test_weighted_draws_by_the_configured_shares():
    catalog = catalog_of(entry("a", weight=6), entry("b", weight=3), entry("c", weight=1))
    first = Counter(
        planned(catalog, WEIGHTED, request_id=str(number)).candidates[0].model
        for number in range(2000)
    )
    shares = {name: count / 2000 for name, count in first.items()}
    assert shares == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1}, abs=0.05)


def test_a_model_that_goes_takes_only_its_own_draws_along():
    everyone = [entry(name) for name in NAMES]
    before, after = catalog_of(*everyone), catalog_of(*everyone[1:])
    for number in range(200):
        first = planned(before, RANDOM, request_id=str(number)).candidates[0].model
        if first != "a":
            assert planned(after, RANDOM, request_id=str(number)).candidates[0].model == first


def test_power_of_two_never_sends_to_the_worst_and_spreads_over_the_others():
    entries = [entry(name, quality=0.1 * place) for place, name in enumerate("abcd", 1)]
    strategy = Strategy("two", {"quality": 1.0}, picker="power-of-two")
    first = Counter(
        planned(catalog_of(*entries), strategy, request_id=str(number)).candidates[0].model
        for number in range(600)
    )
    assert set(first) == {"b", "c", "d"}
    assert first["d"] > first["c"] > first["b"]


def test_round_robin_comes_to_everyone_in_turn_also_to_newcomers():
    held = [served(name) for name in "abc"]
    selector = selector_of(lambda: tuple(held), catalog=(), default_strategy="round-robin")

    def next_one():
        return selector.select(Selection("r", 100))[1].candidates[0].model

    assert {next_one() for _ in range(3)} == set("abc")
    assert Counter(next_one() for _ in range(9)) == Counter("abcabcabc")
    held.append(served("d"))
    assert next_one() == "d"
    assert Counter(next_one() for _ in range(8)) == Counter("abcdabcd")


def test_least_loaded_follows_the_plans_whose_outcome_is_not_known_yet():
    held = [served("a", slots=4), served("b", slots=4)]
    selector = selector_of(held, catalog=(), default_strategy="least-loaded")
    taken = Counter(
        selector.select(Selection(str(number), 100))[1].candidates[0].model for number in range(20)
    )
    assert taken == {"a": 10, "b": 10}


def test_least_loaded_takes_the_one_with_the_fewest_requests_per_slot():
    catalog = build_catalog([], [served("busy", running=12), served("idle", running=3)])
    assert planned(catalog, LEAST_LOADED).candidates[0].model == "idle"


def test_an_unknown_strategy_is_refused_with_those_that_exist():
    strategies = load_strategies()
    assert {one.name for one in BUILT_IN} <= set(strategies)
    for unknown in ("best", "Learned", "ensemble"):
        with pytest.raises(RouterError, match="balanced, cascade, cost-optimized") as caught:
            find_strategy(strategies, unknown)
        assert caught.value.reason is Reason.UNKNOWN_STRATEGY


def test_strategies_are_composed_in_the_configuration():
    own = {"mine": StrategySettings(weights={"quality": 2, "load": 1}, picker="power-of-two")}
    strategy = load_strategies(own=own)["mine"]
    assert strategy.weights == {"quality": 2, "load": 1}
    assert planned(catalog_of(entry("a")), strategy).candidates[0].model == "a"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"weights": {"quality": -1}}, "must be 0 to 100"),
        ({"weights": {"quality": 0}}, "only weights of 0"),
        ({"weights": {"luck": 1}}, "luck"),
        ({"picker": "best"}, "has no weights"),
        ({"weights": {"quality": 1}, "picker": "coin"}, "picker"),
    ],
)
def test_a_composition_that_cannot_be_meant_is_refused(told, why):
    with pytest.raises(ValidationError, match=why):
        SelectorSettings(strategies={"mine": told})


def test_a_foreign_strategy_may_bring_a_scorer_of_its_own():
    class Longest:
        def values(self, frame):
            return np.array([len(model.name) / 10 for model in frame.view.models])

        def why(self, frame, row):
            return "by its name"

    strategy = Strategy("longest", {"length": 1.0}, scorers={"length": Longest()})
    plan = planned(catalog_of(entry("short"), entry("longer")), strategy)
    assert plan.candidates[0].model == "longer"
    assert plan.candidates[0].components[0].explanation == "by its name"
    for wrong in ({"length": 1.0}, {"quality": -1.0}, {"quality": 0.0}):
        with pytest.raises(ValueError, match="wrong"):
            Strategy("wrong", wrong)
    with pytest.raises(ValueError, match="picker"):
        Strategy("wrong", {"quality": 1.0}, picker="coin")


def test_predictions_stand_for_the_quality_where_a_strategy_asks_for_them():
    learned = Strategy("learned", {"cost": 1.0, "predicted": 0.1}, predicts=True)
    catalog = catalog_of(
        entry("cheap", quality=0.9, input_price=1, output_price=1),
        entry("dear", quality=0.1, input_price=100, output_price=100),
    )
    for chance in (0.0, 0.5, 0.79, 0.8, 0.95):
        chances = np.array([chance, 0.95])
        figures = partial(figures_of, predicted=Predictions(chances, np.zeros(2)))
        plan = planned(catalog, learned, figures=figures, min_quality=0.8)
        assert plan.candidates[0].model == ("cheap" if chance >= 0.8 else "dear")
