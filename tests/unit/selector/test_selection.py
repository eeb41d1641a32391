"""A plan names the best model, its fallbacks and, for everyone else, why not."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.unit.selector.building import (
    LARGE,
    SMALL,
    answered,
    catalog_of,
    entry,
    failed,
    order,
    planned,
    served,
    why,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.selection import Policy
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.statistics import Priors, StatisticsBook
from llmrouter.selector.strategies import (
    BALANCED,
    COST_OPTIMIZED,
    QUALITY_FIRST,
    SPEED_PRIORITY,
    WEIGHTED,
)


def book_of(**seconds_per_token):
    """A book in which these models were seen often at these speeds."""
    book = StatisticsBook(60)
    for model, seconds in seconds_per_token.items():
        for _ in range(100):
            book.observe((model, "v1", "host:1"), answered(per_token=seconds), now=0.0)
    return book


def test_each_strategy_prefers_what_it_is_named_after():
    catalog = catalog_of(SMALL, LARGE)
    book = book_of(small=0.005, large=0.03)
    assert order(planned(catalog, QUALITY_FIRST, book))[0] == "large"
    assert order(planned(catalog, COST_OPTIMIZED, book))[0] == "small"
    assert order(planned(catalog, SPEED_PRIORITY, book))[0] == "small"


def test_the_guides_weights_score_speed_quality_and_cost_and_add_compatibility():
    plan = planned(catalog_of(SMALL))
    first = plan.candidates[0]
    weights = {part.name: part.weight for part in first.components}
    assert weights == {"speed": 0.3, "quality": 0.4, "cost": 0.3, "compatibility": 1.0}
    assert first.score == pytest.approx(sum(p.weight * p.value for p in first.components))
    assert all(part.explanation for part in first.components)
    assert plan.reason


def test_equal_models_take_turns_by_the_request_and_the_same_question_meets_the_same():
    catalog = catalog_of(entry("c"), entry("a"), entry("b"))
    first = Counter(
        order(planned(catalog, question_key=str(number).encode()))[0] for number in range(300)
    )
    assert set(first) == set("abc")
    assert min(first.values()) > 60
    again = {tuple(order(planned(catalog, question_key=b"same"))) for _ in range(5)}
    assert len(again) == 1


def test_speed_priority_starts_from_what_was_measured_on_each_machine():
    held = [
        served("a-slow", priors=Priors.measured(prefill_rate=100, decode_rate=5)),
        served("b-fast", priors=Priors.measured(prefill_rate=1000, decode_rate=50)),
    ]
    assert order(planned(build_catalog([], held), SPEED_PRIORITY)) == ["b-fast", "a-slow"]


def test_the_larger_of_the_known_models_is_the_better_one_in_every_precision():
    known = SelectorSettings().catalog
    held = [served(one.name, quality_ratio=0.9) for one in known if one.name[:3] != "all"]
    plan = planned(build_catalog(known, held), QUALITY_FIRST, policy=Policy(fallbacks=5))
    assert [name.split("-")[0] for name in order(plan)] == ["qwen2.5"] * 3 + ["smollm2"] * 3


def test_the_plan_is_full_after_the_fallbacks_and_says_so():
    models = [
        entry(name, quality=quality)
        for name, quality in zip("abcd", (0.9, 0.8, 0.7, 0.6), strict=True)
    ]
    plan = planned(catalog_of(*models), policy=Policy(fallbacks=1))
    assert order(plan) == ["a", "b"]
    assert "ranked 3" in why(plan)["c"]
    assert "ranked 4" in why(plan)["d"]


def test_a_model_asked_for_by_name_has_no_fallbacks():
    plan = planned(catalog_of(SMALL, LARGE), model="small@v1")
    assert order(plan) == ["small"]
    assert "asked for" in why(plan)["large"]
    assert "asked for" in plan.reason


def test_an_alias_of_several_models_plans_with_all_of_them():
    catalog = catalog_of(entry("a", aliases=("x",)), entry("b", aliases=("x",)), entry("c"))
    plan = planned(catalog, model="x")
    assert sorted(order(plan)) == ["a", "b"]


def test_a_model_that_fails_loses_its_place():
    catalog = catalog_of(entry("a"), entry("b"))
    book = StatisticsBook(60)
    for _ in range(10):
        book.observe(("a", "v1", "host:1"), failed(), now=0.0)
    for strategy in (BALANCED, COST_OPTIMIZED, QUALITY_FIRST, SPEED_PRIORITY):
        assert order(planned(catalog, strategy, book))[0] == "b"


def test_each_reason_for_an_exclusion_is_told():
    catalog = build_catalog(
        [entry("absent"), entry("good"), entry("poor", quality=0.1), entry("raw")],
        [
            served("good"),
            served("poor"),
            served("raw", capabilities=frozenset({"completion"})),
            served("tiny", context=100, longest_token_bytes=16),
        ],
    )
    plan = planned(
        catalog, prompt_bytes=2000, max_tokens=50, capabilities={"chat"}, min_quality=0.2
    )
    assert order(plan) == ["good"]
    reasons = why(plan)
    assert reasons["absent"] == "no endpoint holds it"
    assert reasons["poor"] == "quality 0.100 is below the required 0.200"
    assert reasons["raw"] == "it cannot do chat"
    assert reasons["tiny"] == "context 100 is too small: the prompt has at least 125 tokens"


def test_a_ceiling_on_cost_excludes_what_is_dearer_and_zero_sets_none():
    catalog = catalog_of(SMALL, LARGE)
    assert len(planned(catalog).candidates) == 2
    plan = planned(catalog, max_cost=0.001)
    assert order(plan) == ["small"]
    assert "above the ceiling $0.001" in why(plan)["large"]


def test_each_of_several_answers_counts_towards_the_cost():
    catalog = catalog_of(entry("free-to-ask", input_price=0.0, output_price=10))
    one = planned(catalog, max_tokens=50).candidates[0].estimated_cost
    assert planned(catalog, max_tokens=50, n=4).candidates[0].estimated_cost == pytest.approx(
        4 * one
    )
    with pytest.raises(RouterError, match="above the ceiling"):
        planned(catalog, max_tokens=50, n=4, max_cost=2 * one)


def test_cost_optimized_does_not_buy_below_its_quality():
    cheap = entry("cheap", quality=0.1, input_price=0.0001, output_price=0.0001)
    plan = planned(catalog_of(cheap, SMALL), COST_OPTIMIZED)
    assert order(plan) == ["small"]
    assert "below the required 0.200" in why(plan)["cheap"]


def test_tags_must_all_be_carried():
    catalog = catalog_of(
        entry("here", tags=("region=eu", "gdpr")), entry("there", tags=("region=us", "gdpr"))
    )
    plan = planned(catalog, tags=("gdpr", "region=eu"))
    assert order(plan) == ["here"]
    assert why(plan)["there"] == "it is not tagged region=eu"


def test_tenants_meet_only_the_models_they_may_use():
    catalog = catalog_of(
        entry("all"), entry("few", allow_tenants=("a",)), entry("most", deny_tenants=("b",))
    )
    assert set(order(planned(catalog, tenant="a"))) == {"all", "few", "most"}
    plan = planned(catalog, tenant="b")
    assert order(plan) == ["all"]
    assert why(plan)["few"] == why(plan)["most"] == "the tenant b may not use it"


def test_a_ceiling_on_latency_looks_at_slow_answers_and_zero_sets_none():
    catalog = catalog_of(SMALL, LARGE)
    book = book_of(small=0.005, large=0.005)
    for number in range(100):  # one of them varies
        observation = answered(per_token=0.001 if number % 2 else 0.02)
        book.observe(("large", "v1", "host:1"), observation, now=0.0)
    assert len(planned(catalog, book=book, max_tokens=100).candidates) == 2
    plan = planned(catalog, book=book, max_tokens=100, max_latency=1.5)
    assert order(plan) == ["small"]
    assert "more than the ceiling of 1.5 s" in why(plan)["large"]
    with pytest.raises(RouterError, match=r"first token may take .* than the ceiling of 0.001 s"):
        planned(catalog, book=book, max_time_to_first_token=0.001)


def test_where_no_model_is_surely_in_time_those_stay_that_may_be():
    catalog = catalog_of(SMALL, LARGE)
    book = book_of(small=0.01, large=0.04)
    answer = {"book": book, "max_tokens": 100, "prompt_bytes": 4000}
    likely = planned(catalog, QUALITY_FIRST, **answer, max_latency=2.0)  # about 1.9 s, as expected
    assert order(likely) == ["small"]
    hopeful = planned(catalog, QUALITY_FIRST, **answer, max_latency=1.2)
    assert order(hopeful) == ["small"]
    with pytest.raises(RouterError, match=r"more than the ceiling of 0\.5 s") as caught:
        planned(catalog, QUALITY_FIRST, **answer, max_latency=0.5)
    assert caught.value.reason is Reason.NO_CANDIDATE


def test_a_model_of_weight_0_is_never_drawn():
    catalog = catalog_of(entry("a", weight=1), entry("b", weight=0))
    for number in range(20):
        plan = planned(catalog, WEIGHTED, request_id=str(number))
        assert order(plan) == ["a"]
        assert why(plan)["b"] == "its weight is 0"


def test_a_missing_price_is_assumed_and_the_refusal_says_so():
    with pytest.raises(RouterError, match="by an assumed price"):
        planned(catalog_of(entry("unpriced")), max_cost=1e-9)


def test_a_question_asked_of_one_replica_has_the_others_as_fallback():
    held = [served("a", address=f"host:{number}") for number in range(3)]
    plan = planned(build_catalog([], held))
    assert order(plan) == ["a", "a"]
    assert len({one.address for one in plan.candidates}) == 2


def test_of_versions_side_by_side_the_stable_one_is_meant_and_others_are_not_told_of():
    held = [
        served("m", "v1", names=frozenset({"old"})),
        served("m", "v2", names=frozenset({"new", "stable"})),
    ]
    catalog = build_catalog([], held)
    for wish, version in (("", "v2"), ("m", "v2"), ("m@old", "v1"), ("m@v1", "v1")):
        plan = planned(catalog, model=wish)
        assert [one.version for one in plan.candidates] == [version]
    assert planned(catalog, max_cost=1, capabilities={"chat"}).exclusions == ()
