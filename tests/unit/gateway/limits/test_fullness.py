"""Of each limit the fullest count is known, however many subjects there are."""

from llmrouter.common.generation import RequestContext
from llmrouter.gateway.limits.charges import Charge, Seen
from llmrouter.gateway.limits.fullness import Fullness
from llmrouter.gateway.limits.limiter import Limiter
from llmrouter.gateway.limits.memory_store import MemoryStore
from llmrouter.gateway.limits.resources import LIMITS, Resource
from llmrouter.gateway.limits.rules import RuleBook
from llmrouter.gateway.limits.settings import RuleSettings


def note(fullness, subject, used, now=0.0, reset=60_000, limit=100):
    kind = LIMITS["tokens_per_minute"]
    charge = Charge(f"counter {subject}", "rule", subject, kind, limit, limit, 1)
    fullness.note([charge], [Seen(used, reset)], now)


def _clock():
    return 1_000


def told(fullness, now=0.0):
    return [(one.rule, one.limit, one.subject, one.share) for one in fullness.now(now)]


def test_the_fullest_subject_stands_for_a_limit():
    fullness = Fullness()
    for subject, used in (("a", 10), ("b", 90), ("c", 40)):
        note(fullness, subject, used)
    assert told(fullness) == [("rule", "tokens_per_minute", "b", 0.9)]


def test_a_count_goes_down_with_its_own_next_request():
    fullness = Fullness()
    note(fullness, "b", 90)
    note(fullness, "b", 20)
    assert told(fullness) == [("rule", "tokens_per_minute", "b", 0.2)]
    note(fullness, "a", 30)
    assert told(fullness)[0][2:] == ("a", 0.3)


def test_a_count_of_which_all_is_free_again_is_told_no_more():
    fullness = Fullness()
    note(fullness, "b", 90, reset=60_000)
    assert told(fullness, 59.9)
    assert told(fullness, 60.0) == []
    note(fullness, "a", 1, now=61.0)
    assert told(fullness, 61.0)[0][2:] == ("a", 0.01)


def test_a_hundred_thousand_subjects_take_the_room_of_one():
    fullness = Fullness()
    for number in range(100_000):
        note(fullness, f"tenant {number}", number % 100)
    assert len(fullness._fullest) == 1


def test_a_limit_of_nothing_is_full():
    fullness = Fullness()
    note(fullness, "a", 0, limit=0)
    assert told(fullness)[0][3] == 1.0


async def test_the_limiter_tells_what_it_reserves_and_refuses():
    rule = RuleSettings(name="tenants", per=["tenant"], requests_per_minute=4)
    limiter = Limiter(RuleBook([rule]), MemoryStore(print, clock=_clock), clock=_clock)
    assert limiter.fullest() == []
    context = RequestContext("r", tenant="acme")
    for _ in range(3):
        await limiter.reserve(context, {Resource.REQUESTS: 1})
    [one] = limiter.fullest()
    assert (one.rule, one.limit, one.subject, one.share) == (
        "tenants", "requests_per_minute", "tenant acme", 0.75
    )  # fmt: skip
