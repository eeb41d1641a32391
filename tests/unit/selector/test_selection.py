"""A plan names the best model, its fallbacks and, for everyone else, why not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.unit.selector.building import (
    answered,
    catalog_of,
    entry,
    failed,
    figures_of,
    planned,
    served,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.breakers import BreakerBook
from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.plan import Tried
from llmrouter.selector.selection import Policy
from llmrouter.selector.settings import BreakerSettings, SelectorSettings
from llmrouter.selector.statistics import Priors, StatisticsBook
from llmrouter.selector.strategies import (
    BALANCED,
    COST_OPTIMIZED,
    QUALITY_FIRST,
    SPEED_PRIORITY,
    WEIGHTED,
)
from llmrouter.selector.tokenizer_book import TokenizerBook

SMALL = entry("small", quality=0.4, input_price=0.1, output_price=0.1)
LARGE = entry("large", quality=0.9, input_price=10, output_price=10)


def order(plan):
    return [one.model for one in plan.candidates]


def why(plan):
    return {one.model: one.reason for one in plan.exclusions}


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


def test_when_all_are_excluded_the_error_tells_each_reason():
    with pytest.raises(RouterError, match=r"nearest is large, but.*small: quality") as caught:
        planned(catalog_of(SMALL, LARGE), min_quality=0.95)
    assert caught.value.reason is Reason.NO_CANDIDATE


def test_the_nearest_model_is_the_one_that_lacks_least_and_all_that_it_lacks_is_told():
    with pytest.raises(RouterError, match="nearest is large") as caught:
        planned(catalog_of(SMALL, LARGE), min_quality=0.95, max_cost=1e-9, tags=("region=eu",))
    assert caught.value.metadata["nearest"] == "large"
    lacks = caught.value.metadata["lacks"]
    assert "quality 0.900" in lacks
    assert "above the ceiling" in lacks
    assert "not tagged region=eu" in lacks


@pytest.mark.parametrize("wish", ["", "x"])
def test_one_that_lacks_one_thing_is_nearer_than_a_better_one_that_lacks_two(wish):
    catalog = catalog_of(
        entry("good", quality=0.9, input_price=10, output_price=10, aliases=("x",)),
        entry("poor", quality=0.4, input_price=0, output_price=0, tags=("here",), aliases=("x",)),
    )
    with pytest.raises(RouterError) as caught:
        planned(catalog, model=wish, min_quality=0.5, max_cost=1e-6, tags=("here",))
    assert caught.value.metadata["nearest"] == "poor"
    assert caught.value.metadata["lacks"] == "quality 0.400 is below the required 0.500"


@pytest.mark.parametrize("wish", ["", "small"])
def test_while_a_model_is_loading_asking_again_can_help(wish):
    held = [served("small", ready=False), served("large", ready=False, error="weights are broken")]
    with pytest.raises(RouterError, match="is still loading it") as caught:
        planned(build_catalog([SMALL, LARGE], held), model=wish)
    assert caught.value.reason is Reason.MODEL_UNAVAILABLE
    assert caught.value.retry_after == 1.0


def test_a_loading_model_that_is_not_good_enough_gives_no_hope():
    held = [served("small"), served("large", ready=False)]
    with pytest.raises(RouterError) as caught:
        planned(build_catalog([SMALL, LARGE], held), min_quality=0.99)
    assert caught.value.reason is Reason.NO_CANDIDATE


def test_a_prompt_too_long_for_the_ready_models_may_fit_one_that_is_loading():
    held = [served("small", longest_token_bytes=81), served("large", ready=False)]
    with pytest.raises(RouterError, match="is still loading it") as caught:
        planned(build_catalog([SMALL, LARGE], held), prompt_bytes=1_000_000)
    assert (caught.value.reason, caught.value.retry_after) == (Reason.MODEL_UNAVAILABLE, 1.0)


def test_a_model_that_could_not_be_loaded_is_not_worth_asking_again():
    held = [served("large", ready=False, error="weights are broken")]
    with pytest.raises(RouterError, match="weights are broken") as caught:
        planned(build_catalog([LARGE], held))
    assert (caught.value.reason, caught.value.retry_after) == (Reason.NO_CANDIDATE, None)


def test_an_empty_catalog_is_no_candidate():
    with pytest.raises(RouterError) as caught:
        planned(build_catalog([], []))
    assert caught.value.reason is Reason.NO_CANDIDATE


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


def test_a_model_whose_replicas_drain_or_fail_is_left_out():
    held = [served("a", draining=True), served("b"), served("c")]
    breakers = BreakerBook(BreakerSettings(failures=1))
    breakers.fail(("b", "v1", "host:1"), "INTERNAL", now=0.0)
    plan = planned(
        build_catalog([], held), figures=lambda view: figures_of(view, breakers=breakers)
    )
    assert order(plan) == ["c"]
    assert why(plan)["a"] == "every replica is draining"
    assert why(plan)["b"] == "1 circuit breaker is open"


def test_a_question_asked_of_one_replica_has_the_others_as_fallback():
    held = [served("a", address=f"host:{number}") for number in range(3)]
    plan = planned(build_catalog([], held))
    assert order(plan) == ["a", "a"]
    assert len({one.address for one in plan.candidates}) == 2


def test_a_model_that_is_away_is_planned_with_only_where_no_other_can_answer():
    gone = served("large", "v1", "gone:1", ready=False, silent=True)
    plan = planned(build_catalog([SMALL, LARGE], [served("small"), gone]))
    assert order(plan) == ["small"]
    assert why(plan)["large"] == "gone:1 does not answer"
    for catalog in (
        build_catalog([LARGE], [gone]),
        build_catalog([SMALL, LARGE], [served("small", capabilities=frozenset()), gone]),
    ):
        plan = planned(catalog, capabilities={"chat"})
        assert [(one.model, one.version, one.away) for one in plan.candidates] == [
            ("large", "v1", "gone:1 does not answer")
        ]
        assert "only kept answers" in plan.reason


def test_neither_open_breakers_nor_ceilings_on_time_keep_answers_of_models_that_are_away():
    gone = served("large", "v1", ready=False, silent=True)
    breakers = BreakerBook(BreakerSettings(failures=1))
    breakers.fail(("large", "v1", "host:1"), "UPSTREAM_UNAVAILABLE", now=0.0)
    plan = planned(
        build_catalog([LARGE], [gone]),
        figures=lambda view: figures_of(view, breakers=breakers),
        max_latency=0.001,
    )
    assert [one.away for one in plan.candidates] == ["host:1 does not answer"]


def test_a_version_that_is_away_beside_one_that_is_served_is_planned_with_when_it_is_named():
    held = [served("m", "v1", "gone:1", ready=False, silent=True), served("m", "v2")]
    catalog = build_catalog([], held)
    assert [one.version for one in planned(catalog, model="m").candidates] == ["v2"]
    [named] = planned(catalog, model="m@v1").candidates
    assert (named.version, named.away) == ("v1", "gone:1 does not answer")
    with pytest.raises(RouterError, match=r"served: m@v2$") as caught:
        planned(catalog, model="m@v3")
    assert caught.value.reason is Reason.UNKNOWN_MODEL


def test_a_prompt_of_which_no_text_can_fit_is_too_long_and_names_both_numbers():
    held = [
        served("small", longest_token_bytes=81),
        served("tiny", context=9, longest_token_bytes=81),
    ]
    with pytest.raises(RouterError, match=r"at least 8193 tokens.* 8192 of small") as caught:
        planned(build_catalog([SMALL], held), prompt_bytes=8192 * 81 + 1)
    assert caught.value.reason is Reason.CONTEXT_TOO_LONG
    assert caught.value.metadata == {"prompt_tokens": "8193", "context": "8192", "model": "small"}


@pytest.mark.parametrize("longest", [0, 81])
def test_only_the_exact_count_refuses_a_prompt_that_some_text_of_its_size_could_fit(longest):
    catalog = build_catalog([SMALL], [served("small", longest_token_bytes=longest)])
    assert order(planned(catalog, prompt_bytes=8192 * 81)) == ["small"]


def test_without_a_longest_token_on_every_endpoint_no_size_is_too_much():
    held = [served("small", longest_token_bytes=81), served("small", address="host:2")]
    plan = planned(build_catalog([SMALL], held), prompt_bytes=1 << 30)
    assert order(plan) == ["small", "small"]


def taught(tokenizer, prompt_bytes, prompt_tokens):
    """A book in which prompts of this tokenizer were counted so."""
    book = TokenizerBook(60)
    for _ in range(1000):
        book.observe(tokenizer, prompt_bytes, prompt_tokens, now=0.0)
    return book


def test_what_callers_taught_of_bytes_per_token_refuses_nobody():
    book = taught("small@v1", 600, 600)
    assert order(planned(catalog_of(SMALL), tokenizers=book, prompt_bytes=30_000)) == ["small"]


def test_a_context_that_is_probably_too_small_comes_after_those_with_room():
    catalog = build_catalog(
        [entry("narrow", quality=0.9), entry("wide", quality=0.2)],
        [served("narrow", context=1100), served("wide")],
    )
    assert order(planned(catalog, QUALITY_FIRST)) == ["narrow", "wide"]
    plan = planned(catalog, QUALITY_FIRST, prompt_bytes=1000 * 4)
    assert order(plan) == ["wide", "narrow"]
    assert [one.probably_fits for one in plan.candidates] == [True, False]
    assert plan.candidates[0].score < plan.candidates[1].score
    assert plan.reason.endswith("of those whose context probably holds the prompt")


def test_a_fallback_with_room_is_not_crowded_out_by_better_models_without():
    narrow = [served(name, context=1100) for name in "abc"]
    catalog = build_catalog([entry("wide", quality=0.1)], [*narrow, served("wide")])
    plan = planned(catalog, prompt_bytes=1000 * 4, policy=Policy(fallbacks=1))
    assert order(plan)[0] == "wide"


def test_learned_bytes_per_token_move_the_estimate_of_all_who_share_the_tokenizer():
    book = taught("tok", 1000, 500)
    shared = [served(name, tokenizer="tok") for name in ("small", "large")]
    catalog = build_catalog([SMALL, LARGE], [*shared, served("other")])
    tokens = {
        one.model: one.estimated_prompt_tokens
        for one in planned(catalog, tokenizers=book, prompt_bytes=4000).candidates
    }
    assert tokens["other"] == 1232
    assert tokens["small"] == tokens["large"] > 2300
    before = planned(catalog, prompt_bytes=4000, model="small").candidates[0]
    after = planned(catalog, tokenizers=book, prompt_bytes=4000, model="small").candidates[0]
    assert after.estimated_cost > before.estimated_cost


NARROW = served("m", "v1", "narrow:1", context=1024, longest_token_bytes=16)
WIDE = served("m", "v1", "wide:1", context=8192, longest_token_bytes=16)


def places(plan):
    return [one.address for one in plan.candidates]


@pytest.mark.parametrize("conversation", [b"", b"c"])
def test_a_prompt_goes_to_the_replica_of_a_model_whose_context_holds_it(conversation):
    catalog = build_catalog([], [NARROW, WIDE])
    for number in range(20):
        told = {"conversation_key": conversation, "question_key": bytes([number])}
        plan = planned(catalog, prompt_bytes=1000 * 4, **told)
        assert places(plan) == ["wide:1", "narrow:1"]
        assert [one.context for one in plan.candidates] == [8192, 1024]
        assert [one.probably_fits for one in plan.candidates] == [True, False]
        # No text of this size fits the narrow one.
        assert places(planned(catalog, prompt_bytes=1025 * 16, **told)) == ["wide:1"]
    with pytest.raises(RouterError, match="more than the context of 8192 of m"):
        planned(catalog, prompt_bytes=8193 * 16)


def test_a_prompt_that_only_a_replica_left_alone_could_hold_is_not_too_long():
    breakers = BreakerBook(BreakerSettings(failures=1))
    breakers.fail(("m", "v1", "wide:1"), "INTERNAL", now=0.0)
    with pytest.raises(RouterError, match="context 1024 is too small") as caught:
        planned(
            build_catalog([], [NARROW, WIDE]),
            figures=lambda view: figures_of(view, breakers=breakers),
            prompt_bytes=1025 * 16,
        )
    assert caught.value.reason is Reason.NO_CANDIDATE


def test_what_was_too_long_for_one_replica_may_fit_those_with_a_larger_context():
    twin = replace(NARROW, address="narrow:2")
    catalog = build_catalog([], [NARROW, twin, WIDE])
    tried = frozenset({Tried("m", "v1", "narrow:1", too_long=True)})
    assert places(planned(catalog, tried=tried)) == ["wide:1"]
    failed = frozenset({Tried("m", "v1", "narrow:1")})
    assert sorted(places(planned(catalog, tried=failed))) == ["narrow:2", "wide:1"]
    everywhere = frozenset({Tried("m", "v1", "")})
    with pytest.raises(RouterError, match="it has failed this request already"):
        planned(catalog, tried=everywhere)


@pytest.mark.parametrize(
    ("soon", "reason"),
    [
        ({"embedding"}, Reason.NO_CANDIDATE),
        ({"chat"}, Reason.MODEL_UNAVAILABLE),
        ((), Reason.MODEL_UNAVAILABLE),
    ],
)
def test_a_model_that_is_loading_gives_hope_unless_it_is_known_not_to_be_able(soon, reason):
    loading = served("soon", ready=False, capabilities=frozenset(soon))
    vectors = served("vectors", capabilities=frozenset({"embedding"}))
    with pytest.raises(RouterError) as caught:
        planned(build_catalog([], [loading, vectors]), capabilities={"chat"})
    assert caught.value.reason is reason


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
