"""A conversation for programs without an event loop."""

from __future__ import annotations

from typing import Self, Unpack

from llmrouter_client.conversation import Conversation, Turn
from llmrouter_client.events import Event
from llmrouter_client.requests import Options, Prompt
from llmrouter_client.sync_iterator import Run, SyncIterator

__all__ = ["SyncConversation", "SyncTurn"]


class SyncTurn(SyncIterator[Event]):
    """One turn and its answer: a plain iterator of events; see `Turn`."""

    def __init__(self, run: Run, turn: Turn) -> None:
        super().__init__(run, turn)
        self._turn = turn

    @property
    def number(self) -> int:
        """From 1, in the order in which turns are said."""
        return self._turn.number

    @property
    def forgotten(self) -> int:
        """Messages that the conversation forgot so that this fits; once it was accepted."""
        return self._turn.forgotten

    @property
    def cancelled(self) -> bool:
        """Whether it was given up."""
        return self._turn.cancelled

    def text(self) -> str:
        """Read the answer to its end and return its text; see `Turn.text`."""
        return self._run(self._turn.text())

    def cancel(self) -> None:
        """Give it up; another thread may do so while one reads. See `Turn.cancel`."""
        self._run(self._turn.cancel())


class SyncConversation:
    """Turns on one stream; use it with `with`. See `Conversation`."""

    def __init__(self, run: Run, conversation: Conversation) -> None:
        self._run, self._conversation = run, conversation

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, prompt: Prompt) -> SyncTurn:
        """Say a text, or messages, and return the turn; see `Conversation.say`."""
        return SyncTurn(self._run, self._run(self._conversation.say(prompt)))

    def change(self, **options: Unpack[Options]) -> None:
        """Take other options for the turns said from here on; see `Conversation.change`."""
        self._run(self._conversation.change(**options))

    def close(self) -> None:
        """End the conversation; an answer still being generated is cancelled."""
        self._run(self._conversation.aclose())
