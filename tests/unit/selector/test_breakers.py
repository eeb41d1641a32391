"""Circuit breakers: the guide's numbers, and what holds under any history and any clock."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llmrouter.selector.breakers import Breaker, BreakerBook, BreakerState
from llmrouter.selector.settings import BreakerSettings

GUIDE = BreakerSettings()
KEY = ("m", "v", "host:1")


def opened(settings=GUIDE, now=0.0):
    breaker = Breaker(settings)
    for _ in range(settings.failures):
        breaker.fail("INTERNAL", now)
    return breaker


def test_five_failures_in_a_row_open_it_and_a_success_between_starts_anew():
    breaker = Breaker(GUIDE)
    for _ in range(4):
        breaker.fail("INTERNAL", 0)
    breaker.succeed(0)
    for _ in range(4):
        breaker.fail("INTERNAL", 0)
    assert breaker.state(0) is BreakerState.CLOSED
    breaker.fail("INTERNAL", 0)
    assert breaker.state(0) is BreakerState.OPEN
    assert not breaker.allows(0)


def test_after_sixty_seconds_it_probes_and_three_successes_close_it():
    breaker = opened()
    assert breaker.state(59.9) is BreakerState.OPEN
    assert breaker.retry_in(50) == pytest.approx(10)
    for now in (60, 61, 62):
        assert breaker.state(now) is BreakerState.HALF_OPEN
        assert breaker.allows(now)
        breaker.begin(now)
        assert not breaker.allows(now)
        breaker.succeed(now)
    assert breaker.state(62) is BreakerState.CLOSED
    assert breaker.failures == 0


@pytest.mark.parametrize("failures", [1, 5])
def test_a_service_that_is_back_gets_a_new_chance_and_one_failure_ends_it(failures):
    told = []
    book = BreakerBook(BreakerSettings(failures=failures), changed=lambda *one: told.append(one))
    other = ("m", "v", "host:2")
    for key in (KEY, other):
        for _ in range(failures):
            book.fail(key, "UPSTREAM_UNAVAILABLE", 0)
    book.returned("host:1", 0)
    assert book.blocked(0) == [other]
    assert told[-1] == (KEY, None)
    book.fail(KEY, "UPSTREAM_UNAVAILABLE", 2)
    assert sorted(book.blocked(2)) == [KEY, other]
    book.returned("host:1", 3)
    book.succeed(KEY, 3)
    assert [key for key, _ in book.troubled()] == [other]


def test_calls_over_connections_of_before_tell_nothing_of_a_service_that_is_back():
    book = BreakerBook(BreakerSettings(failures=2))
    book.fail(KEY, "UPSTREAM_UNAVAILABLE", 0)
    book.returned("host:1", 1)
    for now in (1, 1.5, 2.9):
        book.fail(KEY, "UPSTREAM_UNAVAILABLE", now)
    assert book.blocked(2.9) == []
    book.fail(KEY, "GENERATION_FAILED", 2.9)
    assert book.blocked(2.9) == [KEY]


def test_a_failure_while_it_probes_opens_it_again_for_as_long():
    breaker = opened()
    breaker.begin(60)
    breaker.succeed(60)
    breaker.begin(61)
    breaker.fail("INTERNAL", 61)
    assert breaker.state(120) is BreakerState.OPEN
    assert breaker.state(121) is BreakerState.HALF_OPEN
    assert breaker.successes == 0


def test_a_probe_whose_outcome_never_comes_does_not_block_for_ever():
    breaker = opened()
    breaker.begin(60)
    assert not breaker.allows(69)
    assert breaker.allows(71)


def test_a_probe_that_says_nothing_of_the_endpoint_makes_room_for_another():
    breaker = opened()
    breaker.begin(60)
    breaker.abandon(61)
    assert breaker.allows(61)
    assert breaker.state(61) is BreakerState.HALF_OPEN


def test_failures_of_requests_from_before_it_opened_do_not_keep_it_open():
    breaker = opened()
    breaker.fail("INTERNAL", 50)
    assert breaker.state(60) is BreakerState.HALF_OPEN


def test_a_clock_put_back_makes_nobody_wait_longer():
    breaker = opened(now=1_000_000)
    assert breaker.state(0) is BreakerState.OPEN
    assert breaker.state(60) is BreakerState.HALF_OPEN


def test_the_book_remembers_only_troubled_endpoints_and_few_of_them():
    book = BreakerBook(BreakerSettings(failures=2), most=3)
    book.succeed(KEY, 0)
    assert not list(book.troubled())
    book.fail(KEY, "INTERNAL", 0)
    book.succeed(KEY, 0)
    assert not list(book.troubled())
    for number in range(10):
        book.fail(("m", "v", str(number)), "INTERNAL", number)
    assert [key[2] for key, _ in book.troubled()] == ["7", "8", "9"]
    assert book.blocked(10) == []


def test_the_book_closes_by_model_and_address():
    book = BreakerBook(BreakerSettings(failures=1))
    keys = [("a", "v", "h:1"), ("a", "v", "h:2"), ("b", "v", "h:1")]
    for key in keys:
        book.fail(key, "INTERNAL", 0)
    assert book.blocked(0) == keys
    assert book.reset(model="a", address="h:2") == 1
    assert book.reset(address="h:1") == 2
    assert book.reset() == 0


def test_success_tells_when_it_closed_the_breaker():
    book = BreakerBook(BreakerSettings(failures=1, open_seconds=10, successes=2))
    book.fail(KEY, "INTERNAL", 0)
    assert book.probing(10) == [KEY]
    assert not book.succeed(KEY, 10)
    assert book.succeed(KEY, 11)
    assert not book.succeed(KEY, 12)


@pytest.mark.parametrize("opened", [900.0, 10**400, "long ago"])
def test_what_another_selector_opened_long_ago_is_its_own_to_close(opened):
    told = []
    book = BreakerBook(GUIDE, changed=lambda *one: told.append(one))
    data = {"model": "m", "version": "v", "address": "host:1", "opened": opened, "failures": 5}
    book.take(KEY, {**data, "last_error": "INTERNAL"}, now=50, wall=1000)
    assert (told, list(book.troubled())) == ([], [])


class AnyHistory(RuleBasedStateMachine):
    """A breaker beside the plainest telling of what it must do, under a clock that jumps."""

    def __init__(self):
        super().__init__()
        self.settings = BreakerSettings(failures=3, open_seconds=10, successes=2, probes=2)
        self.breaker = Breaker(self.settings)
        self.now = 0.0
        self.in_a_row = 0
        self.opened_at = None
        self.running = 0

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 10.0, 1e6]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(seconds=st.sampled_from([1.0, 1e9]))
    def the_clock_goes_back(self, seconds):
        self.now -= seconds
        if self.opened_at is not None:
            self.opened_at = min(self.opened_at, self.now)

    @rule()
    def ask(self):
        if self.breaker.allows(self.now):
            before = len(self.breaker._running(self.now))
            self.breaker.begin(self.now)
            if self.breaker.state(self.now) is BreakerState.HALF_OPEN:
                assert len(self.breaker._running(self.now)) == before + 1

    @rule()
    def fail(self):
        before = self.breaker.state(self.now)
        self.breaker.fail("INTERNAL", self.now)
        self.in_a_row += 1
        if before is BreakerState.HALF_OPEN:
            assert self.breaker.state(self.now) is BreakerState.OPEN
        if before is BreakerState.CLOSED:
            opens = self.in_a_row >= self.settings.failures
            expected = BreakerState.OPEN if opens else BreakerState.CLOSED
            assert self.breaker.state(self.now) is expected

    @rule()
    def succeed(self):
        before = self.breaker.state(self.now)
        self.breaker.succeed(self.now)
        self.in_a_row = 0
        if before is not BreakerState.HALF_OPEN:
            assert self.breaker.state(self.now) is before

    @rule()
    def abandon(self):
        before = self.breaker.state(self.now)
        self.breaker.abandon(self.now)
        assert self.breaker.state(self.now) is before

    @rule()
    def reset(self):
        self.breaker.reset()
        self.in_a_row = 0
        assert self.breaker.state(self.now) is BreakerState.CLOSED

    @invariant()
    def what_always_holds(self):
        state = self.breaker.state(self.now)
        assert 0 <= self.breaker.retry_in(self.now) <= self.settings.open_seconds
        assert (self.breaker.retry_in(self.now) > 0) == (state is BreakerState.OPEN)
        assert len(self.breaker._running(self.now)) <= self.settings.probes
        assert self.breaker.successes < self.settings.successes
        assert self.breaker.allows(self.now) or state is not BreakerState.CLOSED
        if state is BreakerState.OPEN:
            assert not self.breaker.allows(self.now)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
