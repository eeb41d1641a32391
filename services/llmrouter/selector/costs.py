"""What answers cost: prices, estimates before, and accounts of what was spent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from llmrouter.common.generation import Usage
from llmrouter.common.prices import Prices
from llmrouter.selector.settings import CatalogEntry

__all__ = ["KINDS", "OTHERS", "SHADOWS", "Account", "CostBook", "prices_of"]

OTHERS = "(others)"
"""The account that takes what no account of its own is kept for."""
SHADOWS = "(shadows)"
"""The tenant that pays for answers that nobody asked for."""
KINDS = ("model", "tenant", "user")


def prices_of(entry: CatalogEntry, assumed: float) -> Prices:
    """Return an entry's prices; `assumed` stands for those that are missing."""
    given, generated = entry.input_price, entry.output_price
    prompt = assumed if given is None else given
    cached = prompt if entry.cached_input_price is None else entry.cached_input_price
    output = assumed if generated is None else generated
    return Prices(prompt, output, cached, given is None or generated is None)


@dataclass(slots=True)
class Account:
    """What one model, tenant or user has spent since start."""

    plans: int = 0
    attempts: int = 0
    """Those that were paid for."""
    estimated: float = 0.0
    """US dollars, of the primaries of the plans."""
    actual: float = 0.0
    """US dollars."""
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, usage: Usage, cost: float) -> None:
        """Take in a paid attempt."""
        self.attempts += 1
        self.actual += cost
        self.prompt_tokens += usage.prompt_tokens
        self.cached_prompt_tokens += usage.cached_prompt_tokens
        self.completion_tokens += usage.completion_tokens

    def absorb(self, other: Account) -> None:
        """Take in all that another account holds."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class CostBook:
    """Accounts by model, tenant and user.

    Per kind the accounts used last are kept apart; what older ones held moves to `OTHERS`, so that
    the sums stay right in bounded memory.
    """

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._accounts: dict[str, OrderedDict[str, Account]] = {
            kind: OrderedDict() for kind in KINDS
        }

    def estimate(self, model: str, tenant: str, user: str, cost: float) -> None:
        """Take in that a plan was issued whose primary may cost `cost` US dollars."""
        for account in self._touched(model, tenant, user):
            account.plans += 1
            account.estimated += cost

    def spend(self, model: str, tenant: str, user: str, usage: Usage, cost: float) -> None:
        """Take in that an attempt cost `cost` US dollars."""
        for account in self._touched(model, tenant, user):
            account.add(usage, cost)

    def accounts(self, kind: str) -> list[tuple[str, Account]]:
        """Return the accounts of a kind by name, the dearest first."""
        return sorted(self._accounts[kind].items(), key=lambda one: (-one[1].actual, one[0]))

    def _touched(self, model: str, tenant: str, user: str) -> Iterator[Account]:
        yield self._account("model", model)
        yield self._account("tenant", tenant)
        if user:
            yield self._account("user", f"{tenant}/{user}")

    def _account(self, kind: str, name: str) -> Account:
        accounts = self._accounts[kind]
        account = accounts.get(name)
        if account is None:
            account = accounts[name] = Account()
            if len(accounts) > self._most:
                self._fold(accounts)
        accounts.move_to_end(name)
        return account

    @staticmethod
    def _fold(accounts: OrderedDict[str, Account]) -> None:
        """Move the account unused for longest to `OTHERS`."""
        oldest = next(name for name in accounts if name != OTHERS)
        accounts.setdefault(OTHERS, Account()).absorb(accounts.pop(oldest))
