"""What was said in a conversation so far, within bounds."""

from __future__ import annotations

from collections.abc import Sequence

from llmrouter.common.errors import invalid
from llmrouter.common.generation import Message, Role
from llmrouter.common.text_bytes import text_bytes
from llmrouter.common.validation import MAX_MESSAGES

__all__ = ["History", "eldest_turn", "instructions"]


class History:
    """The messages of a conversation; the eldest turns give way, instructions never.

    Args:
        max_bytes: Of text, what is asked next included.
        max_messages: Likewise.
    """

    def __init__(self, max_bytes: int, max_messages: int = MAX_MESSAGES) -> None:
        self._max_bytes, self._max_messages = max_bytes, max_messages
        self._messages: tuple[Message, ...] = ()

    def asking(self, said: Sequence[Message]) -> tuple[tuple[Message, ...], int]:
        """Return what a model is to read where this is said, and how many messages gave way.

        Raises:
            RouterError: INVALID_ARGUMENT: it has no message, or would not fit by itself.
        """
        if not said:
            raise invalid("turn.messages", "are none; say something")
        begin = instructions(self._messages)
        told, rest = self._messages[:begin], self._messages[begin:]
        forgotten = 0
        while not self._fits((*told, *rest, *said)):
            if not rest:
                bound = f"{self._max_bytes} bytes and {self._max_messages} messages"
                raise invalid("turn.messages", f"do not fit a conversation, which holds {bound}")
            gone = eldest_turn(rest)
            forgotten, rest = forgotten + gone, rest[gone:]
        return (*told, *rest, *said), forgotten

    def keep(self, asked: Sequence[Message], answer: str) -> None:
        """Go on from here: with what was asked, as `asking` gave it, and its answer."""
        said = (Message(Role.ASSISTANT, (answer,)),) if answer else ()
        self._messages = (*asked, *said)

    def _fits(self, messages: Sequence[Message]) -> bool:
        if len(messages) > self._max_messages:
            return False
        size = sum(text_bytes(part) for message in messages for part in message.parts)
        return size <= self._max_bytes


def instructions(messages: Sequence[Message]) -> int:
    """Return how many messages at the beginning are the system's."""
    return next(
        (index for index, one in enumerate(messages) if one.role is not Role.SYSTEM), len(messages)
    )


def eldest_turn(messages: Sequence[Message]) -> int:
    """Return how many messages the eldest turn has: up to the next one of the user's."""
    return next(
        (index for index, one in enumerate(messages) if index and one.role is Role.USER),
        len(messages),
    )
