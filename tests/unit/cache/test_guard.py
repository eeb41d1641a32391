"""Two questions are one only if they say the same; being like each other is not enough."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.cache.semantic.guard import Difference, difference, language_of

PAIRS = Path(__file__).parents[2] / "benchmarks/data/similar_questions.txt"


def pairs():
    base = ""
    for line in PAIRS.read_text().splitlines():
        kind, text = line[:1], line[2:]
        if kind == "=":
            base = text
        elif kind and kind != "#":
            yield kind, base, text


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("Turn on the light.", "Turn off the light.", Difference.WORDS),
        ("Do cats like milk?", "Do cats not like milk?", Difference.NEGATION),
        ("Do cats like milk?", "Don't cats like milk?", Difference.NEGATION),
        ("What is 15 % of 240?", "What is 15 % of 24?", Difference.NUMBERS),
        ("Buy two tickets.", "Buy three tickets.", Difference.NUMBERS),
        ("Wait for 6 minutes.", "Wait for 6 hours.", Difference.UNITS),
        ("What is the capital of France?", "What is the capital of Spain?", Difference.NAMES),
        ("what is the capital of france?", "what is the capital of spain?", Difference.WORDS),
        ("Fly from Paris to London.", "Fly from London to Paris.", Difference.ORDER),
        ("What does f(x) do?", "What does f(y) do?", Difference.CODE),
        ("What does x += 1 do?", "What does x -= 1 do?", Difference.CODE),
        ("Where is the station?", "Wo ist die Station?", Difference.LANGUAGE),
        ("Who is the queen?", "Who was the queen?", Difference.WORDS),
        ("How old is Tom?", "How is old Tom?", Difference.ORDER),
        ("Tell me how old Tom is.", "How is old Tom?", Difference.ORDER),
        ("Cook rice, milk and eggs.", "Cook rice milk and eggs.", Difference.SIGNS),
        ("What does strip! do?", "What does strip do?", Difference.SIGNS),
        ("Explain Array#empty?", "Explain Array#empty", Difference.CODE),
        ("Would you help a stranger?", "Help a stranger.", Difference.WORDS),
        ("word " * 500, "word " * 500, Difference.LENGTH),
        ("Wo ist der Bahnhof?", "Wo ist kein Bahnhof?", Difference.NEGATION),
        ("Wo ist der Bahnhof?", "Wann ist der Bahnhof?", Difference.WORDS),
        ("How many yen are 10€?", "How many yen are 10£?", Difference.SIGNS),
        ("Is 👍 rude?", "Is 👎 rude?", Difference.SIGNS),
        ("दिन क्या है?", "दान क्या है?", Difference.SIGNS),
        ("What is 5!?", "What is 5?", Difference.SIGNS),
        ("Sell .5 cups.", "Sell 5 cups.", Difference.NUMBERS),
        ("Who is in the US?", "Who is in us?", Difference.NAMES),
        ("Spell the word big.", "Spell the word large.", Difference.WORDS),
        ("if a:\n  b\n  c", "if a:\n  b\nc", Difference.SIGNS),
        ("  a\n  b", "a\n  b", Difference.SIGNS),
        ("What happens when I run cd ..?", "What happens when I run cd .?", Difference.CODE),
        ("What happens when I run git add .?", "What happens when I run git add?", Difference.CODE),
        ("Explain the name example.com.", "Explain the name example.com", Difference.SIGNS),
        ("What matches the regex ab?", "What matches the regex ab", Difference.SIGNS),
        ("How long is 'a  b'?", "How long is 'a b'?", Difference.SIGNS),
        ("How long is 'a\tb'?", "How long is 'a b'?", Difference.SIGNS),
        ("Count these spaces:  ", "Count these spaces: ", Difference.SIGNS),
        ("How long is 'a '?", "How long is 'a'?", Difference.SIGNS),
        ("Explain a . b in Haskell.", "Explain a.b in Haskell.", Difference.CODE),
        ("Mario ha vinto la gara?", "Mario ha vinto la gara.", Difference.SIGNS),
        ("How do I compare to my peers?", "How to compare to my peers?", Difference.NAMES),
        ("Would you tell me if you were lying?", "Tell me if you were lying.", Difference.WORDS),
        ("How do I add a lot to it?", "How can I add a lot to it?", Difference.WORDS),
        (
            "Why are the eggs boiled hard?",
            "Tell me why the eggs boiled are hard.",
            Difference.ORDER,
        ),
    ],
)
def test_what_makes_two_questions_different_is_named(one, other, kind):
    assert difference(one, other) is kind
    assert difference(other, one) is kind


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is the capital of France?", "Can you tell me what the capital of France is?"),
        ("How do I install Python 3.11?", "What are the steps to install Python 3.11?"),
        ("Please repair the file.", "Could you please repair the file?"),
        ("Why is the sky blue?", "Tell me why the sky is blue."),
        ("How tall is Tom?", "Tell me how tall Tom is."),
        ("Wie ist das Wetter in Rom?", "wie ist das Wetter in Rom?"),
        ("東京の天気は?", "東京の天気は?"),
        ("How does a kettle work?", "Tell me how a kettle works."),
        ("Who won the match yesterday?", "Who won the match yesterday"),
        ("Who won the match yesterday?", "Who won the match yesterday?\n"),
    ],
)
def test_ways_of_asking_do_not_matter(one, other):
    assert difference(one, other) is None


def test_of_all_pairs_none_that_differs_is_taken_for_one():
    wrong = [
        (one, other) for kind, one, other in pairs() if kind != "p" and not difference(one, other)
    ]
    assert wrong == []
    same = [difference(one, other) is None for kind, one, other in pairs() if kind == "p"]
    assert sum(same) / len(same) > 0.30
    assert len(list(pairs())) >= 1_000


@given(st.text(max_size=200), st.text(max_size=200))
def test_whatever_is_asked_it_is_itself_and_the_order_of_two_does_not_matter(one, other):
    assert difference(one, one) is None
    assert (difference(one, other) is None) == (difference(other, one) is None)


@given(
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.sampled_from(["What is {}?", "Sell {} of it.", "{} km"]),
)
def test_no_number_is_taken_for_another(one, other, text):
    same = difference(text.format(one), text.format(other)) is None
    assert same == (one == other)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the time?", "en"),
        ("Wie spät ist es und wo bin ich?", "de"),
        ("Quelle est la capitale de la France?", "fr"),
        ("¿Cuál es la capital de España?", "es"),
        ("xyzzy", "en"),
        ("12 + 3", "none"),
    ],
)
def test_languages_are_told_by_their_commonest_words(text, language):
    assert language_of(text) == language


def test_scripts_are_told_apart():
    told = {language_of(text) for text in ("Какая столица?", "東京の天気", "ما هي العاصمة")}
    assert len(told) == 3
