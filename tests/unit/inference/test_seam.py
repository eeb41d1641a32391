"""The seam of an answer that is gone on with by its text: nothing is said twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.continuation import Continuation
from llmrouter.common.generation import ChoiceFinished, FinishReason, SamplingOptions
from llmrouter.inference.seam import Seam, ended_before


def joined(seam, pieces):
    return "".join(map(seam.new, pieces))


@given(said=st.text("ab", max_size=8), rest=st.lists(st.text("ab", max_size=3), max_size=4))
def test_what_the_engine_held_back_is_not_said_twice(said, rest):
    """The engine repeats what may have become a stop string, and then goes on."""
    stop = "abab"
    again = next((n for n in range(min(3, len(said)), 0, -1) if said.endswith(stop[:n])), 0)
    seam = Seam(Continuation(said), SamplingOptions(stop=(stop,)), len(said))
    told = joined(seam, [said[len(said) - again :] if again and said else "", *rest])
    assert told == "".join(rest)


@pytest.mark.parametrize(
    ("begun", "sampling", "answered"),
    [
        (None, SamplingOptions(stop=("ab",)), 0),
        (Continuation("a", (97,), 1), SamplingOptions(stop=("ab",)), 1),
        (Continuation("a"), SamplingOptions(stop=("ab",), min_tokens=4), 1),
        (Continuation("ac"), SamplingOptions(stop=("ab",)), 1),
    ],
    ids=["a new answer", "by tokens", "before stops count", "no beginning of one"],
)
def test_elsewhere_nothing_is_left_out(begun, sampling, answered):
    assert joined(Seam(begun, sampling, answered), ["ab", "c"]) == "abc"


@pytest.mark.parametrize(
    ("begun", "sampling", "answered", "limit", "end"),
    [
        (None, SamplingOptions(), 0, 5, None),
        (Continuation("abc"), SamplingOptions(), 4, 5, None),
        (Continuation("abc"), SamplingOptions(), 5, 5, ChoiceFinished(0, FinishReason.LENGTH)),
        (Continuation("abc"), SamplingOptions(), 5, 0, None),
        (
            Continuation("abcd"),
            SamplingOptions(stop=("cd", "bc", "x")),
            2,
            5,
            ChoiceFinished(0, FinishReason.STOP, "bc"),
        ),
        (Continuation("abc", (1, 2)), SamplingOptions(stop=("bc",)), 2, 5, None),
    ],
)
def test_an_answer_that_is_over_needs_no_further_token(begun, sampling, answered, limit, end):
    assert ended_before(begun, sampling, answered, limit) == end
