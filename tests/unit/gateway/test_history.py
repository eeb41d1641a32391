"""What a conversation remembers: everything that fits, the latest first, instructions always."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.errors import RouterError
from llmrouter.common.generation import Message, Role
from llmrouter.gateway.history import History


def user(text):
    return Message(Role.USER, (text,))


SYSTEM = Message(Role.SYSTEM, ("Be brief.",))


def test_what_was_said_and_answered_comes_before_what_is_said_next():
    history = History(1000)
    asked, forgotten = history.asking((SYSTEM, user("Who?")))
    history.keep(asked, "He.")
    assert forgotten == 0
    told, _ = history.asking((user("Why?"),))
    assert told == (SYSTEM, user("Who?"), Message(Role.ASSISTANT, ("He.",)), user("Why?"))


def test_what_was_not_kept_was_never_said():
    history = History(1000)
    history.asking((user("Who?"),))
    assert history.asking((user("Why?"),)) == ((user("Why?"),), 0)


@given(
    said=st.lists(st.integers(1, 30), min_size=1, max_size=30),
    most=st.integers(60, 200),
    messages=st.integers(4, 12),
)
def test_the_eldest_turns_give_way_and_instructions_never(said, most, messages):
    history = History(most, messages)
    begun, everything = False, []
    for size in said:
        new = (user("u" * size),) if begun else (SYSTEM, user("u" * size))
        asked, forgotten = history.asking(new)
        everything += new
        assert asked[0] == SYSTEM
        assert asked[1].role is Role.USER
        assert len(asked) <= messages
        assert sum(len(one.text) for one in asked) <= most
        assert asked[1:] == tuple(everything[len(everything) - len(asked) + 1 :])
        history.keep(asked, "a" * 5)
        everything = [*asked, Message(Role.ASSISTANT, ("a" * 5,))]
        assert forgotten >= 0
        begun = True


@pytest.mark.parametrize("said", [(), (user("u" * 101),), (user("u"),) * 1001])
def test_what_fits_by_no_means_is_refused(said):
    with pytest.raises(RouterError) as refused:
        History(100).asking(said)
    assert [one.field for one in refused.value.violations] == ["turn.messages"]
