"""Counters: never above the limit in any window, and never far below it."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.limits.doubles import NOON

from llmrouter.gateway.limits.counters import CHUNKS, CalendarCounter, SlidingCounter, StreamCounter
from llmrouter.gateway.limits.resources import Window, period

WINDOW = 1000
arrivals = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 5)), max_size=150)


def admitted(steps, limit, window=WINDOW):
    """Play arrivals (pause, amount) against a counter; return what was let in, with its time."""
    counter, now, taken = SlidingCounter(window), NOON, []
    for pause, amount in steps:
        now += pause
        if counter.used(now) + amount <= limit:
            counter.take(now, amount)
            taken.append((now, amount))
    return taken


@given(arrivals, st.integers(1, 20))
def test_in_no_window_more_than_the_limit_is_taken(steps, limit):
    taken = admitted(steps, limit)
    for begin, _ in taken:
        assert sum(amount for when, amount in taken if begin <= when < begin + WINDOW) <= limit


@given(arrivals)
def test_nothing_counts_before_it_is_taken_nor_longer_than_a_part_of_the_window_too_long(steps):
    counter, now, taken = SlidingCounter(WINDOW), NOON, []
    for pause, amount in steps:
        now += pause
        counter.take(now, amount)
        taken.append((now, amount))
        exact = sum(one for when, one in taken if now - WINDOW < when)
        longest = sum(one for when, one in taken if now - WINDOW - WINDOW // CHUNKS < when)
        assert exact <= counter.used(now) <= longest
        assert len(counter.chunks) <= CHUNKS + 2


@given(arrivals, st.integers(1, 20))
def test_what_is_refused_fits_once_the_time_that_is_told_has_passed(steps, limit):
    counter, now = SlidingCounter(WINDOW), NOON
    for pause, wanted in steps:
        now += pause
        amount = min(wanted, limit)
        if counter.used(now) + amount > limit:
            wait = counter.wait(now, amount, limit)
            assert counter.used(now + wait - 1) + amount > limit
            now += wait
        assert counter.used(now) + amount <= limit
        counter.take(now, amount)


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 50), st.integers(0, 60), st.integers(0, 30)),
        max_size=40,
    )
)
def test_settled_amounts_are_the_exact_sum_of_what_was_used_within_the_window(steps):
    """Of reservations that are settled at any time, in any order, none is lost or counted twice."""
    counter, now, held = SlidingCounter(60_000), NOON, []
    total = 0
    for pause, reserved, actual, place in steps:
        now += pause
        held.append((counter.take(now, reserved), reserved, actual))
        total += reserved
        if place < len(held):
            mark, was, became = held.pop(place)
            counter.settle(now, mark, was, became)
            total += became - was
        assert counter.used(now) == total == sum(one[2] for one in counter.chunks)
    for mark, reserved, actual in held:
        counter.settle(now, mark, reserved, actual)
        total += actual - reserved
    assert counter.used(now) == total
    assert counter.used(now + 60_000 + 60_000 // CHUNKS) == 0


def test_what_was_used_beyond_a_reservation_that_has_left_the_window_counts_from_now():
    counter = SlidingCounter(WINDOW)
    mark = counter.take(NOON, 10)
    counter.settle(NOON + 5000, mark, 10, 25)
    assert counter.used(NOON + 5000) == 15
    counter.settle(NOON + 5000, mark, 10, 3)
    assert counter.used(NOON + 5000) == 15


def test_a_clock_that_is_set_back_frees_nothing():
    counter = SlidingCounter(WINDOW)
    counter.take(NOON, 3)
    counter.take(NOON - 10_000, 2)
    assert counter.used(NOON) == 5
    assert counter.used(NOON + WINDOW) == 0


def test_a_quota_tells_what_was_spent_from_what_is_reserved():
    day = CalendarCounter(NOON + 3_600_000)
    day.take(NOON, 60)
    assert (day.used(NOON), day.spent) == (60, 0)
    assert day.wait(NOON, 50, 100) == 1000, "the reservation may turn out too high"
    day.settle(NOON, 0, 60, 70)
    assert (day.used(NOON), day.spent, day.requests) == (70, 70, 1)
    assert day.wait(NOON, 50, 100) == 3_600_000


def test_streams_count_while_they_run():
    streams = StreamCounter()
    streams.take(NOON, 1)
    streams.take(NOON, 1)
    assert not streams.idle(NOON)
    streams.settle(NOON, 0, 1, 0)
    assert streams.used(NOON) == 1


def test_days_and_months_end_where_the_calendar_says():
    assert period(Window.DAY, NOON) == ("2025-11-25", NOON + 12 * 3_600_000)
    name, ends = period(Window.MONTH, NOON)
    assert (name, period(Window.MONTH, ends).name) == ("2025-11", "2025-12")
    assert period(Window.MONTH, ends - 1).name == "2025-11"
    december = period(Window.MONTH, ends)
    assert period(Window.MONTH, december.ends).name == "2026-01"


@given(st.integers(0, 4_000_000_000_000))
def test_every_moment_is_within_its_period_and_the_next_one_begins_at_its_end(now):
    for window in (Window.DAY, Window.MONTH):
        name, ends = period(window, now)
        assert now < ends
        assert period(window, ends - 1).name == name != period(window, ends).name
