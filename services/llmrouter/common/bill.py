"""What one request uses, under which plan, and how its caller's limits stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from llmrouter.common.standing import Standings
from llmrouter.common.usage import Usage

__all__ = ["Bill"]


@dataclass(slots=True)
class Bill:
    """The tokens and the cost of everything that was tried for a request; of one event loop.

    A generation may go on for others once its caller has left: `settled` waits for its end.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    cost: float = 0.0
    """US dollars."""
    standings: Standings = field(default_factory=Standings)
    plan: tuple[str, str] = ("", "")
    """Id and reason of the plan to generate under; empty before there is one."""
    _running: int = 0
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens read and generated."""
        return self.prompt_tokens + self.completion_tokens

    def add(self, usage: Usage, cost: float) -> None:
        """Take in what one try used, whether it failed or not."""
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cached_prompt_tokens += usage.cached_prompt_tokens
        self.cost += cost

    def beside(self) -> Bill:
        """Return the bill of another request of the same call."""
        return Bill(standings=self.standings)

    def begin(self) -> None:
        """Take in that something that is paid for begins."""
        self._running += 1

    def end(self) -> None:
        """Take in that it has ended."""
        self._running -= 1
        if not self._running:
            waiting, self._waiting = self._waiting, []
            for told in waiting:
                told()

    def settled(self, told: Callable[[], None]) -> None:
        """Call `told` once nothing is added any more: at once, where nothing runs."""
        if self._running:
            self._waiting.append(told)
        else:
            told()
