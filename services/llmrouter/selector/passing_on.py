"""Outcomes that came to another selector than the one that made the plan: passed on to it.

Behind one name every call goes to another selector, but only who made a plan can learn from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Usage
from llmrouter.selector.evidence import Key
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.statistics import Observation

__all__ = ["KIND", "Attempts", "SharedOutcomes"]

KIND = "outcome"
_log = logging.getLogger(__name__)

Attempts = Sequence[tuple[Key, Observation]]


class SharedOutcomes:
    """Takes outcomes in, or has the other selectors do so.

    Args:
        selector: This one.
        tell: Tells the others something about a key; False where nobody hears it.
    """

    def __init__(
        self, selector: ModelSelector, tell: Callable[[str, str, Mapping[str, Any]], bool]
    ) -> None:
        self._selector, self._tell = selector, tell

    def report(self, plan_id: str, attempts: Attempts) -> int:
        """Take in how attempts went; return how many counted here.

        Raises:
            RouterError: UNKNOWN_PLAN when it was never issued here, or is forgotten, and there is
                nobody to pass it on to.
        """
        try:
            return self._selector.report(plan_id, attempts)
        except RouterError as error:
            told = {"attempts": [[list(key), asdict(seen)] for key, seen in attempts]}
            if error.reason is not Reason.UNKNOWN_PLAN or not self._tell(KIND, plan_id, told):
                raise
        return 0

    def take(self, kind: str, key: str, data: Mapping[str, Any] | None) -> None:
        """Take in what another selector tells: an outcome of a plan of ours, or a document."""
        if kind != KIND:
            self._selector.take(kind, key, data)
            return
        try:
            self._selector.report(key, [_decoded(one) for one in (data or {})["attempts"]])
        except RouterError:
            return  # it is nobody's here either
        except (KeyError, TypeError, ValueError) as error:
            _log.warning("an outcome that was passed on cannot be read: %s", error)


def _decoded(told: Any) -> tuple[Key, Observation]:
    (model, version, address), seen = told
    usage = None if seen["usage"] is None else Usage(**seen["usage"])
    return (str(model), str(version), str(address)), Observation(**{**seen, "usage": usage})
