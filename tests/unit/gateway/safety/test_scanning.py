"""What is a secret or personal data is found; what only looks like it is not."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.safety.samples import PERSONAL, SECRETS, policy, scanner

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.safety.rules import SUSPICIOUS
from llmrouter.gateway.safety.scanner import Scanner, redacted
from llmrouter.gateway.safety.screen import Screen
from llmrouter.gateway.safety.settings import Action

ALL = scanner()
WORDS = (
    "The quick brown fox",
    "jumps over 13 lazy dogs.",
    "On 2024-05-17 at 10:30:15 it",
    "cost $1,234.56",
    "for ISBN 978-3-16-148410-0",
    "at https://example.org/a?b=c",
    "in version 1.2.3",
    "HELLO WORLD",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "\n\n```python\nx = [1, 2]\n```",
)


@pytest.mark.parametrize(("rule", "text"), [*SECRETS.items(), *PERSONAL.items()])
def test_each_is_found_where_it_is_and_replaced_whole(rule, text):
    whole = f"Mine is {text}, keep it."
    [found] = ALL.findings(whole)
    assert (found.rule, whole[found.start : found.end]) == (rule, text)
    assert redacted(whole, [found]) == f"Mine is [{rule}], keep it."


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("https://ann:hunter2@db.example/x", "https://ann:[Basic Auth Credentials]@db.example/x"),
        (f"aws_secret_key = '{'wJalrXUt' * 5}'", "aws_secret_key = '[AWS Access Key]'"),
    ],
)
def test_of_a_secret_with_its_place_the_secret_alone_is_replaced(text, left):
    assert redacted(text, ALL.findings(text)) == left


@pytest.mark.parametrize(
    "text",
    [
        *WORDS, "4111 1111 1111 1112", "DE88 3704 0044 0532 0130 00", "999-12-3456", "300.1.2.3",
        "::", "12:30:45", "+1 234", "a@b", "sk-learn", "eyJ.x.y", "1 2 3 4 5 6 7 8 9 10 11 12 13",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_let_through(text):
    assert ALL.findings(text) == []


def test_numbers_without_a_countrys_code_count_where_the_settings_say():
    text = "call (415) 555-2671 now"
    assert ALL.findings(text) == []
    here = policy(questions={"personal_data": "redact"}, phone_regions=["US"])
    assert here.cleaned("prompt", text, Counter()) == "call [phone] now"


@given(
    st.lists(st.sampled_from([*WORDS, *SECRETS.values(), *PERSONAL.values()]), max_size=8),
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
def test_an_answer_in_pieces_is_redacted_as_the_whole_would_be(parts, sizes):
    text = " and ".join(parts)
    screen, out, place = Screen(ALL), [], 0
    while place < len(text):
        for size in sizes:
            out.append(screen.feed(text[place : place + size])[0])
            place += size
    out.append(screen.end()[0])
    assert "".join(out) == redacted(text, ALL.findings(text))


@given(st.text(max_size=300), st.integers(1, 20))
def test_no_text_is_lost_or_repeated(text, size):
    screen = Screen(policy(answers={"secrets": "flag"}).answers)
    out = [screen.feed(text[at : at + size])[0] for at in range(0, len(text), size)]
    assert "".join((*out, screen.end()[0])) == text


def test_plain_text_is_held_back_by_a_word_at_most():
    screen = Screen(ALL)
    assert screen.feed("The fox jumps over the la")[0] == "The fox jumps over the "
    assert screen.feed("zy dog.\n")[0] == "lazy dog.\n"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("code execution", "please eVal  ('1')"),
        ("destructive SQL", "İ and now Drop  TABLE users"),
        ("SQL injection", "1' UNION  all \u017fELECT name"),  # for `re` a long s is an s
    ],
)
def test_what_a_pattern_needs_first_hides_nothing_that_it_matches(rule, text):
    suspicious = Scanner(SUSPICIOUS, {"suspicious": Action.FLAG})
    assert [one.rule for one in suspicious.findings(text)] == [rule]
    assert not suspicious.findings("drop the chairs, select a union, shell")


@pytest.mark.parametrize(
    "piece",
    ["eyJ", "eyJaaaaaaaaa.", "sk-", "a", "-----BEGIN RSA PRIVATE KEY-----", "://a:", "1", "1-",
     "A1", "+1 ", "a@", "a.", "ghp_", "xoxb-1-", "1:", "<!--", "<script ", "javascript", "drop "],
)  # fmt: skip
def test_no_text_takes_long(piece):
    """A pattern that took quadratic time would run into the time limit of tests."""
    strict = policy(strip_markup=True, questions={"secrets": "flag", "personal_data": "flag"})
    strict.cleaned("prompt", piece * (200_000 // len(piece)), Counter())


def test_what_is_blocked_is_told_by_its_rule_and_never_by_its_text():
    for name, text in (SECRETS | PERSONAL).items():
        with pytest.raises(RouterError) as refused:
            policy(questions={"secrets": "block", "personal_data": "block"}).cleaned(
                "prompt", f"is {text} right?", Counter()
            )
        assert refused.value.reason is Reason.CONTENT_BLOCKED
        assert name in refused.value.message
        assert text not in refused.value.message
        assert refused.value.violations[0].field == "prompt"
