"""Deltas that travel together as one."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.generation import ChoiceFinished, Delta, FinishReason, TokenLogprob
from llmrouter.common.merging import merged

LOGPROBS = st.lists(st.builds(TokenLogprob, st.integers(0, 9), st.just(-0.5), st.just(b"a")))
DELTAS = st.builds(
    Delta, st.integers(0, 2), st.text(max_size=3), st.integers(0, 3), LOGPROBS.map(tuple),
    st.lists(st.integers(0, 9), max_size=2).map(tuple),
)  # fmt: skip
ENDS = st.builds(ChoiceFinished, st.integers(0, 2), st.just(FinishReason.STOP))


def told(events):
    """Return what is known after each event that is no delta, by choice."""
    said, states = {}, []
    for one in events:
        if isinstance(one, Delta):
            text, tokens, logprobs, ids = said.get(one.choice, ("", 0, (), ()))
            said[one.choice] = (
                text + one.text, tokens + one.tokens, logprobs + one.logprobs, ids + one.token_ids
            )  # fmt: skip
        else:
            states.append((one, dict(said)))
    return states, said


@given(st.lists(DELTAS | ENDS))
def test_nothing_is_lost_nothing_changes_its_place_and_no_two_neighbours_are_left(events):
    found = list(merged(events))
    assert told(found) == told(events)
    for one, after in pairwise(found):
        both = isinstance(one, Delta) and isinstance(after, Delta)
        assert not (both and one.choice == after.choice)
