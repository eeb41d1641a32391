"""A context that is probably too small comes last; only what no text could fit is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.selector.building import (
    LARGE,
    SMALL,
    catalog_of,
    entry,
    figures_of,
    order,
    planned,
    served,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.breakers import BreakerBook
from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.plan import Tried
from llmrouter.selector.selection import Policy
from llmrouter.selector.settings import BreakerSettings
from llmrouter.selector.strategies import (
    QUALITY_FIRST,
)
from llmrouter.selector.tokenizer_book import TokenizerBook


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
    with pytest.raises(RouterError, match="too many for the context of 8192 of m; shorten it"):
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
