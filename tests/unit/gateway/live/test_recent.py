"""The newest requests and the last five minutes, in bounded memory."""

from llmrouter.common.bill import Bill
from llmrouter.common.generation import Usage
from llmrouter.gateway.live.recent import STEP_SECONDS, STEPS, RecentRequests
from llmrouter.gateway.record import RequestRecord


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


def record(number=0, outcome="OK", **more):
    return RequestRecord("chat", f"r-{number}", "acme", outcome, 0.5, **more)


def lately(recent, name):
    return [getattr(step, name) for step in recent.steps()]


def test_newest_requests_come_first_and_old_ones_are_forgotten():
    recent = RecentRequests(Clock())
    for number in range(1000):
        recent.ended(record(number))
    assert [one.request_id for _, one in recent.newest(3)] == ["r-999", "r-998", "r-997"]
    assert len(recent.newest(1000)) == 200


def test_requests_are_counted_where_they_ended_and_leave_after_five_minutes():
    clock = Clock()
    recent = RecentRequests(clock)
    recent.ended(record())
    clock.now += STEP_SECONDS
    recent.ended(record())
    recent.ended(record())
    assert lately(recent, "requests")[-2:] == [1, 2]
    clock.now += STEP_SECONDS * (STEPS - 1)
    assert lately(recent, "requests")[0] == 2
    clock.now += STEP_SECONDS
    assert sum(lately(recent, "requests")) == 0
    assert len(recent.steps()) == STEPS


def test_what_lies_with_the_caller_is_refused_and_what_lies_with_us_has_failed():
    recent = RecentRequests(Clock())
    for outcome in ("OK", "RATE_LIMITED", "CANCELLED", "UPSTREAM_UNAVAILABLE"):
        recent.ended(record(outcome=outcome))
    [*_, step] = recent.steps()
    assert (step.requests, step.refused, step.failed) == (4, 2, 1)
    assert step.outcomes == {"RATE_LIMITED": 1, "CANCELLED": 1, "UPSTREAM_UNAVAILABLE": 1}


def test_kept_answers_are_spared_and_add_no_tokens():
    recent = RecentRequests(Clock())
    recent.ended(record(cache="hit", usage=Usage(5, 7), first_token=0.001))
    recent.ended(record(cache="miss", usage=Usage(5, 7), first_token=0.2))
    [*_, step] = recent.steps()
    assert (step.spared, step.tokens) == (1, 7)
    assert recent.first_token() == (0.2, 0.2)


def test_the_cost_of_a_generation_that_goes_on_is_added_at_its_end():
    recent = RecentRequests(Clock())
    bill = Bill()
    bill.begin()
    recent.ended(record(bill=bill))
    assert sum(lately(recent, "cost")) == 0
    bill.add(Usage(1, 1), 0.25)
    bill.end()
    assert sum(lately(recent, "cost")) == 0.25


def test_percentiles_are_those_of_the_newest_requests():
    recent = RecentRequests(Clock())
    assert recent.first_token() is None
    for number in range(100):
        recent.ended(record(number, first_token=number / 100))
    assert recent.first_token() == (0.5, 0.95)


def test_reasons_that_nobody_knows_do_not_grow_a_step_without_bound():
    recent = RecentRequests(Clock())
    for number in range(1000):
        recent.ended(record(outcome=f"REASON_{number}"))
    [*_, step] = recent.steps()
    assert (len(step.outcomes), step.failed) == (64, 1000)


def test_a_clock_that_is_set_back_loses_nothing():
    clock = Clock()
    recent = RecentRequests(clock)
    recent.ended(record())
    clock.now -= 60
    recent.ended(record())
    clock.now += 60
    assert lately(recent, "requests")[-1] == 2
