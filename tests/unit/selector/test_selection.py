"""A plan names the best model, its fallbacks and, for everyone else, why not."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.selector.building import catalog_of, entry, served

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import RoutingWishes
from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.selection import Selection, select
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.statistics import Observation, Priors, StatisticsBook
from llmrouter.selector.strategies import (
    BALANCED,
    BUILT_IN,
    COST_OPTIMIZED,
    QUALITY_FIRST,
    SPEED_PRIORITY,
    find_strategy,
    load_strategies,
)
from llmrouter.selector.tokenizer_book import TokenizerBook

SMALL = entry("small", quality=0.4, input_price=0.1, output_price=0.1)
LARGE = entry("large", quality=0.9, input_price=10, output_price=10)


def choose(
    catalog, strategy=BALANCED, book=None, tokenizers=None, prompt_bytes=200, max_tokens=0, n=1,
    **wishes,
):  # fmt: skip
    settings = {key: wishes.pop(key) for key in ("fallbacks",) if key in wishes}
    capabilities = wishes.pop("capabilities", frozenset())
    request_id = wishes.pop("request_id", "r")
    selection = Selection(
        request_id, prompt_bytes, max_tokens, frozenset(capabilities), RoutingWishes(**wishes), n
    )
    book, tokenizers = book or StatisticsBook(60), tokenizers or TokenizerBook(60)
    return select(selection, catalog, strategy, book, tokenizers, now=0.0, **settings)


def order(plan):
    return [one.model for one in plan.candidates]


def why(plan):
    return {one.model: one.reason for one in plan.exclusions}


def book_of(**seconds_per_token):
    """A book in which these models were seen often at these speeds."""
    book = StatisticsBook(60)
    for model, seconds in seconds_per_token.items():
        for _ in range(100):
            observation = Observation(time_to_first_token=0.1, seconds_per_token=seconds)
            book.observe(model, "v1", observation, now=0.0)
    return book


def test_each_strategy_prefers_what_it_is_named_after():
    catalog = catalog_of(SMALL, LARGE)
    book = book_of(small=0.005, large=0.03)
    assert order(choose(catalog, QUALITY_FIRST, book))[0] == "large"
    assert order(choose(catalog, COST_OPTIMIZED, book))[0] == "small"
    assert order(choose(catalog, SPEED_PRIORITY, book))[0] == "small"


def test_the_guides_weights_score_speed_quality_and_cost_and_add_compatibility():
    plan = choose(catalog_of(SMALL))
    first = plan.candidates[0]
    weights = {part.name: part.weight for part in first.components}
    assert weights == {"speed": 0.3, "quality": 0.4, "cost": 0.3, "compatibility": 1.0}
    assert first.score == pytest.approx(sum(p.weight * p.value for p in first.components))
    assert all(part.explanation for part in first.components)
    assert plan.reason


def test_speed_priority_starts_from_what_was_measured_on_each_machine():
    held = [
        served("a-slow", priors=Priors.measured(prefill_rate=100, decode_rate=5)),
        served("b-fast", priors=Priors.measured(prefill_rate=1000, decode_rate=50)),
    ]
    assert order(choose(build_catalog([], held), SPEED_PRIORITY)) == ["b-fast", "a-slow"]


def test_the_larger_of_the_known_models_is_the_better_one_in_every_precision():
    known = SelectorSettings().catalog
    held = [served(one.name, quality_ratio=0.9) for one in known if one.name[:3] != "all"]
    plan = choose(build_catalog(known, held), QUALITY_FIRST, fallbacks=5)
    assert [name.split("-")[0] for name in order(plan)] == ["qwen2.5"] * 3 + ["smollm2"] * 3


def test_equal_models_are_ordered_by_name():
    plan = choose(catalog_of(entry("c"), entry("a"), entry("b")))
    assert order(plan) == ["a", "b", "c"]


def test_the_plan_is_full_after_the_fallbacks_and_says_so():
    plan = choose(catalog_of(*(entry(name) for name in "abcd")), fallbacks=1)
    assert order(plan) == ["a", "b"]
    assert "ranked 3" in why(plan)["c"]
    assert "ranked 4" in why(plan)["d"]


def test_a_model_asked_for_by_name_has_no_fallbacks():
    plan = choose(catalog_of(SMALL, LARGE), model="small@v1")
    assert order(plan) == ["small"]
    assert "asked for" in why(plan)["large"]
    assert "asked for" in plan.reason


def test_an_alias_of_several_models_plans_with_all_of_them():
    catalog = catalog_of(entry("a", aliases=("x",)), entry("b", aliases=("x",)), entry("c"))
    plan = choose(catalog, model="x")
    assert order(plan) == ["a", "b"]


def test_a_model_that_fails_loses_its_place():
    catalog = catalog_of(entry("a"), entry("b"))
    book = StatisticsBook(60)
    for _ in range(10):
        book.observe("a", "v1", Observation(failed=True), now=0.0)
    for strategy in BUILT_IN:
        assert order(choose(catalog, strategy, book))[0] == "b"


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
    plan = choose(catalog, prompt_bytes=2000, max_tokens=50, capabilities={"chat"}, min_quality=0.2)
    assert order(plan) == ["good"]
    reasons = why(plan)
    assert reasons["absent"] == "no endpoint holds it"
    assert reasons["poor"] == "quality 0.100 is below the required 0.200"
    assert reasons["raw"] == "it cannot do chat"
    assert reasons["tiny"] == "context 100 is too small: the prompt has at least 125 tokens"


def test_a_ceiling_on_cost_excludes_what_is_dearer_and_zero_sets_none():
    catalog = catalog_of(SMALL, LARGE)
    assert len(choose(catalog).candidates) == 2
    plan = choose(catalog, max_cost=0.001)
    assert order(plan) == ["small"]
    assert "above the ceiling $0.001" in why(plan)["large"]


def test_each_of_several_answers_counts_towards_the_cost():
    catalog = catalog_of(entry("free-to-ask", input_price=0.0, output_price=10))
    one = choose(catalog, max_tokens=50).candidates[0].estimated_cost
    assert choose(catalog, max_tokens=50, n=4).candidates[0].estimated_cost == pytest.approx(
        4 * one
    )
    with pytest.raises(RouterError, match="above the ceiling"):
        choose(catalog, max_tokens=50, n=4, max_cost=2 * one)


def test_cost_optimized_does_not_buy_below_its_quality():
    cheap = entry("cheap", quality=0.1, input_price=0.0001, output_price=0.0001)
    plan = choose(catalog_of(cheap, SMALL), COST_OPTIMIZED)
    assert order(plan) == ["small"]
    assert "below the required 0.200" in why(plan)["cheap"]


def test_when_all_are_excluded_the_error_tells_each_reason():
    with pytest.raises(RouterError, match=r"large: quality.*small: quality") as caught:
        choose(catalog_of(SMALL, LARGE), min_quality=0.95)
    assert caught.value.reason is Reason.NO_CANDIDATE


@pytest.mark.parametrize("wish", ["", "small"])
def test_while_a_model_is_loading_asking_again_can_help(wish):
    held = [served("small", ready=False), served("large", ready=False, error="weights are broken")]
    with pytest.raises(RouterError, match="is still loading it") as caught:
        choose(build_catalog([SMALL, LARGE], held), model=wish)
    assert caught.value.reason is Reason.MODEL_UNAVAILABLE
    assert caught.value.retry_after == 1.0


def test_a_model_that_is_away_is_planned_with_only_where_no_other_can_answer():
    gone = served("large", "v1", "gone:1", ready=False, silent=True)
    plan = choose(build_catalog([SMALL, LARGE], [served("small"), gone]))
    assert order(plan) == ["small"]
    assert why(plan)["large"] == "gone:1 does not answer"
    for catalog in (
        build_catalog([LARGE], [gone]),
        build_catalog([SMALL, LARGE], [served("small", capabilities=frozenset()), gone]),
    ):
        plan = choose(catalog, capabilities={"chat"})
        assert [(one.model, one.version, one.away) for one in plan.candidates] == [
            ("large", "v1", "gone:1 does not answer")
        ]
        assert "only kept answers" in plan.reason


def test_a_loading_model_that_is_not_good_enough_gives_no_hope():
    held = [served("small"), served("large", ready=False)]
    with pytest.raises(RouterError) as caught:
        choose(build_catalog([SMALL, LARGE], held), min_quality=0.99)
    assert caught.value.reason is Reason.NO_CANDIDATE


def test_a_prompt_too_long_for_the_ready_models_may_fit_one_that_is_loading():
    held = [served("small", longest_token_bytes=81), served("large", ready=False)]
    with pytest.raises(RouterError, match="is still loading it") as caught:
        choose(build_catalog([SMALL, LARGE], held), prompt_bytes=1_000_000)
    assert (caught.value.reason, caught.value.retry_after) == (Reason.MODEL_UNAVAILABLE, 1.0)


def test_a_model_that_could_not_be_loaded_is_not_worth_asking_again():
    held = [served("large", ready=False, error="weights are broken")]
    with pytest.raises(RouterError, match="weights are broken") as caught:
        choose(build_catalog([LARGE], held))
    assert (caught.value.reason, caught.value.retry_after) == (Reason.NO_CANDIDATE, None)


def test_an_empty_catalog_is_no_candidate():
    with pytest.raises(RouterError) as caught:
        choose(build_catalog([], []))
    assert caught.value.reason is Reason.NO_CANDIDATE


def test_a_prompt_of_which_no_text_can_fit_is_too_long_and_names_both_numbers():
    held = [
        served("small", longest_token_bytes=81),
        served("tiny", context=9, longest_token_bytes=81),
    ]
    with pytest.raises(RouterError, match=r"at least 8193 tokens.* 8192 of small") as caught:
        choose(build_catalog([SMALL], held), prompt_bytes=8192 * 81 + 1)
    assert caught.value.reason is Reason.CONTEXT_TOO_LONG
    assert caught.value.metadata == {"prompt_tokens": "8193", "context": "8192", "model": "small"}


@pytest.mark.parametrize("longest", [0, 81])
def test_only_the_exact_count_refuses_a_prompt_that_some_text_of_its_size_could_fit(longest):
    catalog = build_catalog([SMALL], [served("small", longest_token_bytes=longest)])
    assert order(choose(catalog, prompt_bytes=8192 * 81)) == ["small"]


def test_without_a_longest_token_on_every_endpoint_no_size_is_too_much():
    held = [served("small", longest_token_bytes=81), served("small", address="host:2")]
    assert order(choose(build_catalog([SMALL], held), prompt_bytes=1 << 30)) == ["small"]


def test_what_callers_taught_of_bytes_per_token_refuses_nobody():
    book = TokenizerBook(60)
    for _ in range(1000):
        book.observe("small@v1", 600, 600, now=0.0)
    plan = choose(catalog_of(SMALL), tokenizers=book, prompt_bytes=30_000)
    assert order(plan) == ["small"]


def test_a_context_that_is_probably_too_small_comes_after_those_with_room():
    catalog = build_catalog(
        [entry("narrow", quality=0.9), entry("wide", quality=0.2)],
        [served("narrow", context=1100), served("wide")],
    )
    assert order(choose(catalog, QUALITY_FIRST)) == ["narrow", "wide"]
    plan = choose(catalog, QUALITY_FIRST, prompt_bytes=1000 * 4)
    assert order(plan) == ["wide", "narrow"]
    assert [one.probably_fits for one in plan.candidates] == [True, False]
    assert plan.candidates[0].score < plan.candidates[1].score
    assert plan.reason.endswith("of those whose context probably holds the prompt")


def test_a_fallback_with_room_is_not_crowded_out_by_better_models_without():
    narrow = [served(name, context=1100) for name in "abc"]
    catalog = build_catalog([entry("wide", quality=0.1)], [*narrow, served("wide")])
    assert order(choose(catalog, prompt_bytes=1000 * 4, fallbacks=1)) == ["wide", "a"]


def test_learned_bytes_per_token_move_the_estimate_of_all_who_share_the_tokenizer():
    book = TokenizerBook(60)
    for _ in range(1000):
        book.observe("tok", 1000, 500, now=0.0)
    shared = [served(name, tokenizer="tok") for name in ("small", "large")]
    catalog = build_catalog([SMALL, LARGE], [*shared, served("other")])
    tokens = {
        one.model: one.estimated_prompt_tokens
        for one in choose(catalog, tokenizers=book, prompt_bytes=4000).candidates
    }
    assert tokens["other"] == 1232
    assert tokens["small"] == tokens["large"] > 2300
    before = choose(catalog, prompt_bytes=4000, model="small").candidates[0]
    after = choose(catalog, tokenizers=book, prompt_bytes=4000, model="small").candidates[0]
    assert after.estimated_cost > before.estimated_cost


def test_the_least_loaded_endpoint_is_taken_and_equals_are_spread_by_request():
    busy = served("small", address="busy:1", running=10)
    idle = [served("small", address=f"idle:{number}") for number in range(3)]
    catalog = build_catalog([SMALL], [busy, *idle])
    taken = {choose(catalog, request_id=str(number)).candidates[0].address for number in range(50)}
    assert taken == {"idle:0", "idle:1", "idle:2"}
    again = [choose(catalog, request_id="same").candidates[0].address for _ in range(5)]
    assert len(set(again)) == 1


def test_registered_strategies_are_found_and_an_unknown_one_names_them():
    strategies = load_strategies()
    assert {"balanced", "quality-first", "cost-optimized", "speed-priority"} <= set(strategies)
    with pytest.raises(RouterError, match="balanced, cost-optimized") as caught:
        find_strategy(strategies, "best")
    assert caught.value.reason is Reason.UNKNOWN_STRATEGY


MODELS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"),  # name
        st.booleans(),  # configured
        st.sampled_from(["ready", "loading", "loading again", "silent"]),
        st.floats(0, 1),  # quality
        st.floats(0, 1000),  # price
        st.integers(0, 10_000),  # context
        st.integers(0, 100),  # waiting
        st.booleans(),  # chat
    ),
    max_size=8,
    unique_by=lambda model: model[0],
)


REQUESTS = st.fixed_dictionaries(
    {
        "prompt_bytes": st.one_of(st.integers(0, 30_000), st.integers(0, 1 << 30)),
        "max_tokens": st.one_of(st.integers(0, 500), st.integers(0, 1_000_000)),
        "min_quality": st.one_of(st.just(0.0), st.floats(0, 1)),
        "max_cost": st.one_of(st.just(0.0), st.floats(0, 1)),
        "capabilities": st.sampled_from([frozenset(), frozenset({"chat"})]),
    }
)
OUTCOMES = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.booleans(), st.floats(0, 1e6)), max_size=9
)


@given(MODELS, st.sampled_from(BUILT_IN), REQUESTS, OUTCOMES)
def test_every_plan_tells_of_each_model_once_with_values_from_0_to_1(
    models, strategy, arguments, outcomes
):
    entries, held = [], []
    for name, configured, state, quality, price, context, waiting, talks in models:
        if configured:
            entries.append(entry(name, quality=quality, input_price=price, output_price=price))
        capabilities = frozenset({"chat", "completion"} if talks else {"completion"})
        values = {"context": context, "waiting": waiting, "capabilities": capabilities}
        ready, silent = state == "ready", state == "silent"
        version = "" if state == "loading" else "v1"
        held.append(served(name, version, ready=ready, silent=silent, **values))
    book = StatisticsBook(60)
    for name, failed, value in outcomes:
        book.observe(name, "v1", Observation(failed, True, value, value, value), now=0.0)
    catalog = build_catalog(entries, held)
    try:
        plan = choose(catalog, strategy, book, **arguments)
    except RouterError as error:
        floor = max(arguments["min_quality"], strategy.min_quality)
        hope = any(model.loading and model.quality >= floor for model in catalog.models)
        final = {Reason.NO_CANDIDATE, Reason.CONTEXT_TOO_LONG}
        assert error.reason in ({Reason.MODEL_UNAVAILABLE} if hope else final)  # noqa: PT017
        return
    told = Counter([*order(plan), *(one.model for one in plan.exclusions)])
    assert told == Counter(model.name for model in catalog.models)
    assert 1 <= len(plan.candidates) <= 3
    assert all(one.reason for one in plan.exclusions)
    places = [(not one.probably_fits, -one.score) for one in plan.candidates]
    assert places == sorted(places)
    assert all(0 <= part.value <= 1 for one in plan.candidates for part in one.components)
    serving = {model.name for model in catalog.models if model.endpoints and not model.away}
    assert len({bool(one.away) for one in plan.candidates}) == 1
    assert all((one.model in serving) is not bool(one.away) for one in plan.candidates)
    assert plan == choose(catalog, strategy, book, **arguments)
