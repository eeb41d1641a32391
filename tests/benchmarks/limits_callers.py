"""Callers for `limits`: a chain with the gateway's links over an instant model, asked endlessly.

`python -m tests.benchmarks.limits_callers '{"address": …}' N` is one of several processes; it
writes what it saw as JSON.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
from dataclasses import dataclass, field

from llmrouter.common.bill import Bill
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    Delta,
    Finished,
    GenerationRequest,
    RequestContext,
    SamplingOptions,
    Started,
    Usage,
)
from llmrouter.common.prices import Prices
from llmrouter.common.redis_server import RedisSettings
from llmrouter.gateway.limiting import Limiting
from llmrouter.gateway.limits.limiter import Limiter
from llmrouter.gateway.limits.memory_store import MemoryStore
from llmrouter.gateway.limits.redis_store import RedisStore
from llmrouter.gateway.limits.resources import Resource
from llmrouter.gateway.limits.rules import RuleBook
from llmrouter.gateway.limits.settings import RuleSettings
from llmrouter.gateway.plan import Candidate, Plan, PlannedRequest

REQUEST = GenerationRequest(prompt="hi", sampling=SamplingOptions(max_tokens=90))
MODEL = Candidate("m", "1", "a:1", prices=Prices(1.0, 2.0, 1.0), prompt_tokens=10)
PLAN = Plan("p", (MODEL,))
ROUNDS, REQUESTS = 9, 4000


class Model:
    """Answers at once, or after so many seconds, with 1 to 90 tokens."""

    def __init__(self, wait=0.0):
        self.tokens, self._wait = 0, wait

    async def generate(self, planned, context):
        count = random.randint(1, 90)  # noqa: S311 - no secret
        if self._wait:
            await asyncio.sleep(self._wait)
        yield Started(context.request_id, "m", "1", "", prompt_tokens=10)
        yield Delta(0, "a", count)
        used = Usage(10, count)
        if context.bill is not None:
            context.bill.add(used, MODEL.prices.cost(used))
        self.tokens += 10 + count
        yield Finished(used)


class Planned:
    """Gives every request the same plan."""

    def __init__(self, following):
        self._following = following

    def generate(self, request, context):
        return self._following.generate(PlannedRequest(request, PLAN), context)


@dataclass
class Asking:
    """A chain, and what its callers have seen."""

    generator: object
    model: Model
    limiter: object
    asked: int = 0
    times: list = field(default_factory=list)
    milliseconds: list = field(default_factory=list)

    async def ask(self):
        """Ask once; whether the request was admitted."""
        begun = time.perf_counter()
        self.asked += 1
        try:
            async for _ in self.generator.generate(REQUEST, RequestContext("r", bill=Bill())):
                pass
        except RouterError as error:
            if error.reason not in (Reason.RATE_LIMITED, Reason.QUOTA_EXHAUSTED):
                raise
            return False
        finally:
            self.milliseconds.append(1000 * (time.perf_counter() - begun))
        self.times.append(time.time())
        return True

    async def standing(self):
        """Return what callers are told is left."""
        context = RequestContext("r", bill=Bill())
        hold = await self.limiter.reserve(context, dict.fromkeys(Resource, 0))
        hold.settle()
        return dict(context.bill.standings.told())


@contextlib.asynccontextmanager
async def chain(rules, address=None, life=10_000, wait=0.0):
    """Give a chain; None for rules leaves the links out."""
    model = Model(wait)
    if rules is None:
        yield Asking(Planned(model), model, None)
        return
    store = MemoryStore([].append)
    if address is not None:
        store = RedisStore(RedisSettings(address=address), [].append, life / 5000, life)
    await store.start()
    limiter = Limiter(RuleBook([RuleSettings(**rule) for rule in rules]), store)
    links = Limiting(limiter if rules else None, 1024)
    yield Asking(links.arrivals(Planned(links.spending(model))), model, limiter)
    await store.close()


async def one_by_one(rules):
    """Return microseconds per request of several rounds, one request after the other."""
    found = []
    async with chain(rules) as asking:
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            for _ in range(REQUESTS):
                await asking.ask()
            found.append(1e6 * (time.perf_counter() - begun) / REQUESTS)
    return found


def spread(values):
    """Return median and 99th percentile."""
    values = sorted(values)
    return values[len(values) // 2], values[len(values) * 99 // 100]


async def hammer(told):
    """Have callers ask for so many seconds, from `begin` on, where it is given."""
    life, wait = told.get("life", 10_000), told.get("wait", 0.0)
    async with chain(told["rules"], told["address"], life, wait) as asking:
        begin = told.get("begin", time.time())
        await asyncio.sleep(max(0, begin - time.time()))
        end = begin + told["seconds"]

        async def call():
            while time.time() < end:
                await asking.ask()

        await asyncio.gather(*(call() for _ in range(told["callers"])))
    return {
        "asked": asking.asked,
        "admitted": len(asking.times),
        "first": min(asking.times, default=end),
        "last": max(asking.times, default=0),
        "tokens": asking.model.tokens,
        "milliseconds": asking.milliseconds[:: max(1, len(asking.milliseconds) // 500)],
    }


if __name__ == "__main__":
    random.seed(sys.argv[2])
    sys.stdout.write(json.dumps(asyncio.run(hammer(json.loads(sys.argv[1])))))
