"""Where an answer that was begun elsewhere goes on here.

With its tokens there is nothing to mend: the engine itself holds back what may become a stop
string, as the first one did. With the text alone, what was sent may end with the beginning of a
stop string: the engine holds that back, and says it again should the stop string not come.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmrouter.common.continuation import Continuation
from llmrouter.common.generation import ChoiceFinished, FinishReason, SamplingOptions

__all__ = ["Seam", "ended_before"]


class Seam:
    """Leaves out what the reader has already.

    Args:
        begun: What was answered elsewhere.
        sampling: How tokens are drawn.
        answered: How many tokens the engine takes it for.
    """

    def __init__(
        self, begun: Continuation | None, sampling: SamplingOptions, answered: int
    ) -> None:
        self._again = 0
        if begun is not None and not begun.token_ids and answered >= max(1, sampling.min_tokens):
            self._again = max((_overlap(begun.text, stop) for stop in sampling.stop), default=0)

    def new(self, text: str) -> str:
        """Return what of the engine's next text is new to the reader."""
        said, self._again = self._again, max(0, self._again - len(text))
        return text[said:]


def ended_before(
    begun: Continuation | None, sampling: SamplingOptions, answered: int, limit: int
) -> ChoiceFinished | None:
    """Return the end of an answer that needs no further token; None where it goes on.

    Args:
        begun: What was answered elsewhere; None where it begins here.
        sampling: How tokens are drawn.
        answered: How many tokens it has.
        limit: How many it may have; without room for any, the engine tells what is wrong.
    """
    if begun is None or limit < 1:
        return None
    stop = None if begun.token_ids or sampling.min_tokens else _first(begun.text, sampling.stop)
    if stop is not None:
        return ChoiceFinished(0, FinishReason.STOP, stop)
    return ChoiceFinished(0, FinishReason.LENGTH) if answered >= limit else None


def _first(text: str, stops: Sequence[str]) -> str | None:
    found = [(text.index(stop) + len(stop), stop) for stop in stops if stop in text]
    return min(found)[1] if found else None


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is a proper beginning of `stop`."""
    most = min(len(text), len(stop) - 1)
    return next((size for size in range(most, 0, -1) if text.endswith(stop[:size])), 0)
