"""Bytes per token are learned per tokenizer, of prompts long enough to tell, in bounds."""

from __future__ import annotations

import pytest

from llmrouter.selector.tokenizer_book import BYTES_PER_TOKEN, TokenizerBook


def taught(prompt_bytes, prompt_tokens, times=1000):
    book = TokenizerBook(half_life=100)
    for _ in range(times):
        book.observe("tok", prompt_bytes, prompt_tokens, now=0)
    return book


def test_prompts_move_the_belief_of_their_tokenizer_alone_and_it_fades_back():
    book = taught(10_000, 1000)
    assert book.bytes_per_token("tok", 0) == pytest.approx(10, rel=0.05)
    assert book.bytes_per_token("other", 0) == BYTES_PER_TOKEN
    assert book.bytes_per_token("tok", 1e6) == pytest.approx(BYTES_PER_TOKEN)


def test_one_prompt_of_many_bytes_a_token_does_not_make_others_look_short():
    book = TokenizerBook(half_life=100)
    book.observe("tok", 72_000, 2_730, now=0)
    assert BYTES_PER_TOKEN < book.bytes_per_token("tok", 0) < 6


@pytest.mark.parametrize(("prompt_bytes", "prompt_tokens"), [(1, 31), (10_000, 0)])
def test_prompts_that_say_nothing_teach_nothing(prompt_bytes, prompt_tokens):
    book = taught(prompt_bytes, prompt_tokens)
    assert book.bytes_per_token("tok", 0) == BYTES_PER_TOKEN
    assert len(book) == 0


def test_no_token_has_less_than_a_byte():
    once, often = (taught(600, 4_000_000_000, times) for times in (1, 100))
    assert once.bytes_per_token("tok", 0) == taught(600, 600, 1).bytes_per_token("tok", 0) == 2
    assert 1 <= often.bytes_per_token("tok", 0) < 1.1


def test_the_book_forgets_the_tokenizer_unseen_for_longest():
    book = TokenizerBook(half_life=10, most=2)
    for name in ("a", "b", "a", "c"):
        book.observe(name, 1000, 100, now=0)
    assert len(book) == 2
    assert [book.bytes_per_token(name, 0) == BYTES_PER_TOKEN for name in "abc"] == [
        False, True, False,
    ]  # fmt: skip
