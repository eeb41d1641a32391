"""Hand-written doubles of what the links talk to."""

import asyncio
import time

from tests.support.waiting import until

from llmrouter.common.answer_key import answer_key, question_key
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    CacheLevel,
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    GenerationRequest,
    RequestContext,
    SamplingOptions,
    Started,
    Timings,
    Usage,
)
from llmrouter.gateway.answer_cache import Found, Lease, LookedUp, News
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.plan import Candidate, Plan, PlannedRequest

CONTEXT = RequestContext("request-1")
GREEDY = GenerationRequest(prompt="What is it?", sampling=SamplingOptions(temperature=0))
DRAWN = GenerationRequest(prompt="What is it?", sampling=SamplingOptions(temperature=0.7))
FIRST = Candidate("first", "v1", "one:1")
SECOND = Candidate("second", "v2", "two:2")
PLAN = Plan("plan-1", (FIRST, SECOND), "first scores best")


def planned(request=GREEDY, plan=PLAN):
    return PlannedRequest(request, plan)


def answer_events(model="first", version="v1", text=("Par", "is"), reason=FinishReason.STOP):
    return [
        Started("request-1", model, version, "because"),
        *(Delta(0, part, 1) for part in text),
        ChoiceFinished(0, reason),
        Finished(Usage(3, len(text)), Timings(decode=0.5)),
    ]


def error(reason=Reason.UPSTREAM_UNAVAILABLE, **facts):
    return RouterError(reason, f"it was {reason.value}", **facts)


async def play(script, log):
    """Yield the events of a script, raise its errors; note the end.

    A number waits so many seconds, a function until it returns something true.
    """
    try:
        for step in script:
            if isinstance(step, BaseException):
                raise step
            if isinstance(step, (int, float)):
                await asyncio.sleep(step)
            elif callable(step):
                await until(step, pause=0)
            else:
                yield step
    finally:
        log.append("closed")


class Following:
    """The link behind the one under test."""

    def __init__(self, *script):
        self.script = script
        self.calls = []
        self.log = []

    def generate(self, request, context):
        self.calls.append((request, context))
        return play(self.script, self.log)


class Runner:
    """Inference: a script per model."""

    def __init__(self, **scripts):
        self.scripts = scripts
        self.calls = []
        self.begun = []
        self.log = []

    def infer(self, candidate, request, context, begun=None):
        self.calls.append(candidate.model)
        self.begun.append(begun)
        return play(self.scripts[candidate.model], self.log)


class Reporter:
    def __init__(self):
        self.reports = []

    def report(self, plan_id, outcomes, context):
        self.reports.append((plan_id, outcomes))


class Selector:
    def __init__(self, plan=PLAN):
        self.plan = plan
        self.asked = []

    async def select(self, request, context):
        self.asked.append(request)
        if isinstance(self.plan, Exception):
            raise self.plan
        return self.plan


class Replanner:
    """A selector that is asked again, and gives this plan or error each time."""

    def __init__(self, plan=None):
        self.plan = plan or error(Reason.NO_CANDIDATE)
        self.asked = []
        self.wishes = []

    async def select(self, request, context, tried):
        self.asked.append(tried)
        self.wishes.append(request.routing)
        if isinstance(self.plan, Exception):
            raise self.plan
        return self.plan


class Cache:
    """An answer cache in a dictionary, which can be slow or broken; its leases are scripted."""

    def __init__(self, *, delay=0.0, lookup_error=None, store_error=None, leases=(), waited=None):
        self.kept = {}
        self.how = []
        self.lookups = 0
        self.sessions = []
        self.released = []
        self.delay = delay
        self.lookup_error = lookup_error
        self.store_error = store_error
        self.leases = list(leases)
        self.waited = waited
        self.sequence = 7

    async def lookup(self, key, session, context):
        self.lookups += 1
        self.sessions.append(session)
        await asyncio.sleep(self.delay)
        if self.lookup_error:
            raise self.lookup_error
        found = self.kept.get(key)
        if found is not None:
            return LookedUp(Found(found, CacheLevel.MEMORY, 60.0), self.sequence)
        return LookedUp(None, self.sequence, self.leases.pop(0) if self.leases else Lease.NONE)

    async def look_ahead(self, key, context):
        return await self.lookup(key, "", context)

    async def stale(self, key, question, context):
        if self.lookup_error:
            raise self.lookup_error
        found = self.kept.get(key) or self.kept.get(question)
        return None if found is None else Found(found, CacheLevel.DISK, -5.0)

    async def wait(self, key, session, seconds, context):
        if isinstance(self.waited, Exception):
            raise self.waited
        return self.waited

    async def store(self, key, answer, how, session, context):
        await asyncio.sleep(self.delay)
        if self.store_error:
            raise self.store_error
        self.kept[key] = answer
        self.how.append(how)
        return how.as_of

    async def release(self, key, session, context):
        self.released.append(key)


def near_cache(hears=True, clock=time.monotonic):
    """The gateway's own level; one that hears has just heard."""
    near = NearCache(1 << 20, clock)
    if hears:
        near.hear(News(sequence=7, floor=0, session="s", store_id=b"store", default_ttl=60.0))
    return near


def keyed(request=GREEDY, plan=PLAN, tenant="default"):
    """A request as `NearCaching` passes it on."""
    question = question_key(request, tenant)
    first = plan.candidates[0]
    return PlannedRequest(request, plan, question, answer_key(question, first.model, first.version))


async def collect(stream):
    return [event async for event in stream]


def text(events):
    return "".join(event.text for event in events if isinstance(event, Delta))


def started(events):
    return next(event for event in events if isinstance(event, Started))
