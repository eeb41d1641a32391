"""What the tests of limits share: a clock to turn, rules in one line, charges by hand."""

from llmrouter.common.bill import Bill
from llmrouter.common.generation import RequestContext
from llmrouter.gateway.limits.charges import Charge
from llmrouter.gateway.limits.limiter import Limiter
from llmrouter.gateway.limits.memory_store import MemoryStore
from llmrouter.gateway.limits.resources import LIMITS, NANO, Resource, period
from llmrouter.gateway.limits.rules import RuleBook
from llmrouter.gateway.limits.settings import RuleSettings

NOON = 1_764_072_000_000
"""2025-11-25 12:00 UTC in milliseconds."""


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now

    def pass_seconds(self, seconds):
        self.now += round(seconds * 1000)


def charge(name, limit, amount, *, ceiling=None, now=NOON, subject="tenant acme"):
    """A charge on the counter of one kind of limit."""
    kind = LIMITS[name]
    label, ends = period(kind.window, now) if kind.window.is_calendar else ("", 0)
    counter = f"rule|{name}|{subject}|{label}"
    top = limit if ceiling is None else ceiling
    return Charge(counter, "rule", subject, kind, limit, top, amount, label, ends)


def asking(**facts):
    return RequestContext("request-1", bill=Bill(), **facts)


def limiter(*rules, clock=None, told=None, store=None):
    """A limiter with rules given as keywords, the name left out."""
    clock = clock or Clock()
    book = RuleBook(
        [RuleSettings(**{"name": f"rule{place}", **one}) for place, one in enumerate(rules)]
    )
    heard = [] if told is None else told
    return Limiter(book, store or MemoryStore(heard.append, clock=clock), clock=clock)


def tokens(count):
    return {Resource.TOKENS: count}


def dollars(amount):
    return {Resource.DOLLARS: round(amount * NANO)}
