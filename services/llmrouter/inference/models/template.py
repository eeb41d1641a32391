"""Chat templates from model files: rendered in the sandbox, with bounds on size, lines and time.

A template comes with the model and is therefore untrusted. `template_sandbox.py` bounds what one
operation may make; here the executed lines and the processor's time are counted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from llmrouter.inference.models.template_proof import keeps_messages
from llmrouter.inference.models.template_sandbox import (
    SPARE_SIZE,
    MessagesRefusedError,
    TemplateEnvironment,
    TemplateError,
    TemplateTooCostlyError,
)

__all__ = ["ChatTemplate", "MessagesRefusedError", "TemplateError", "TemplateTooCostlyError"]

TraceFunction = Callable[[FrameType, str, Any], Any]

_MAX_SOURCE = 256 * 1024


class _Bounds(NamedTuple):
    """What one rendering may take."""

    steps: int
    """Executed lines of the template."""
    seconds: float
    """Of the rendering thread's own time."""


_ANY_CHAT = _Bounds(2_000_000, 2.0)
"""A thousand turns take a tenth of a second."""
_PLAIN_CHAT = _Bounds(100_000, 1.0)
"""Those of known families take fifty lines for one."""
_PLAIN_CHATS = [
    [{"role": role, "content": "Hello!"} for role in roles]
    for roles in (("user",), ("system", "user"), ("user", "assistant", "user"))
]


class ChatTemplate:
    """One compiled template; renderings may run in several threads at once."""

    def __init__(self, source: str) -> None:
        """Compile `source`.

        Raises:
            TemplateError: It is larger than 256 KiB or not a template.
        """
        if len(source) > _MAX_SOURCE:
            raise TemplateError(f"the chat template is larger than {_MAX_SOURCE} characters")
        self._environment = TemplateEnvironment()
        try:
            tree = self._environment.parse(source)
            self.keeps_messages = keeps_messages(tree)
            """Whether its form proves that it writes every message whole."""
            self._template = self._environment.from_string(tree)
        except TemplateError:
            raise
        except Exception as error:  # a hostile template may raise anything, MemoryError too
            raise TemplateError(f"the chat template does not compile ({error})") from error

    def render(self, messages: Sequence[Mapping[str, str]], **variables: object) -> str:
        """Return the prompt for `messages`, each with `role` and `content`.

        The assistant's turn is opened (`add_generation_prompt`).

        Raises:
            MessagesRefusedError: The template refuses the messages.
            TemplateError: It fails, or exceeds its bounds.
        """
        return self._render(messages, variables, _ANY_CHAT)

    def probe(self, **variables: object) -> None:
        """Render a few plain chats within bounds far below those of any chat.

        What a template refuses or fails at is for those who ask it; what it takes, all would wait
        for. A template that tells plain chats from others passes: `render` bounds it all the same.

        Raises:
            TemplateTooCostlyError: It takes more.
        """
        for messages in _PLAIN_CHATS:
            try:
                self._render(messages, variables, _PLAIN_CHAT)
            except TemplateTooCostlyError as error:
                raise TemplateTooCostlyError(f"{error} for a plain chat") from None
            except TemplateError:
                continue

    def _render(
        self,
        messages: Sequence[Mapping[str, str]],
        variables: Mapping[str, object],
        within: _Bounds,
    ) -> str:
        environment = self._environment
        environment.bounds.size = SPARE_SIZE + 4 * sum(len(turn["content"]) for turn in messages)
        pieces, size = [], 0
        try:
            environment.bounds.end = time.thread_time() + within.seconds
            with _counted_steps(environment, within.steps):
                for piece in self._template.generate(
                    messages=list(messages), add_generation_prompt=True, **variables
                ):
                    size += len(piece)
                    environment.check(size)
                    pieces.append(piece)
        except TemplateError:
            raise
        except Exception as error:  # a hostile template may raise anything
            raise TemplateError(f"the chat template fails ({_brief(error)})") from error
        return "".join(pieces)


@contextmanager
def _counted_steps(environment: TemplateEnvironment, most: int) -> Iterator[None]:
    """Stop template code of this thread after `most` executed lines, or at the end of its time.

    Loops over nothing produce no output that could be bounded, so lines are counted by the
    interpreter's trace hook; code outside of templates is not traced.
    """
    steps = 0

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal steps
        if frame.f_code.co_filename != "<template>":
            return None
        steps += event == "line"
        if steps > most:
            raise TemplateTooCostlyError(f"the chat template runs more than {most} steps")
        environment.check_time()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
