"""A cluster in virtual time: the selector's own code chooses, engines take the times measured.

An engine runs as many sequences as it has slots; each first reads its prompt, then advances by a
token per step, and a step takes the longer the more sequences there are. What is around it - the
client, the gateway, the selector, the network - is a constant.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from llmrouter.common.generation import Usage
from llmrouter.selector.catalog import ServedModel
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.plan import Selection
from llmrouter.selector.settings import CatalogEntry, SelectorSettings
from llmrouter.selector.statistics import Observation

_LOOK_SECONDS = 1.0
_CONTEXT = 1 << 15
_MOST = 0.8
"""Of the answers, by which those in a second are counted."""


@dataclass(frozen=True)
class Law:
    """How long an answer takes, in seconds."""

    overhead: float
    """Of everything around the engine."""
    prefill: float
    """Per token of the prompt."""
    step: float
    """Of one step with a single sequence."""
    row: float
    """That every further sequence adds to it."""
    slots: int

    def times(self, factor):
        """Return that of an engine which takes so many times as long."""
        return replace(
            self, prefill=self.prefill * factor, step=self.step * factor, row=self.row * factor
        )

    def service(self, prompt, output, running):
        """Return the seconds of an answer that does not wait, beside others."""
        return self.prefill * prompt + output * (self.step + self.row * (running - 1))


@dataclass(frozen=True)
class Kind:
    """A model: what it is worth, what it costs, how fast it is."""

    name: str
    quality: float = 0.5
    price: float = 0.0
    """US dollars per million tokens."""
    slower: float = 1.0
    share: float = 1.0
    """Of the replicas."""


@dataclass
class Job:
    """One request."""

    at: float
    prompt: int
    output: int
    ended: float = 0.0
    dollars: float = 0.0
    first: float = 0.0


@dataclass
class _Engine:
    """One replica in virtual time."""

    kind: Kind
    law: Law
    address: str
    running: int = 0
    waiting: deque = field(default_factory=deque)
    decoding: list = field(default_factory=list)
    """Sequences by the number of steps at which they are done."""
    steps: float = 0.0
    seen: float = 0.0
    turn: int = 0
    """Of the expected end that counts; earlier ones are past."""

    @property
    def step(self):
        return self.law.step + self.law.row * max(0, self.running - 1)

    def settle(self, now):
        self.steps += (now - self.seen) / self.step
        self.seen = now


class VirtualCluster:
    """Replicas of some models behind one selector, on a clock of its own.

    Args:
        kinds: The models.
        replicas: How many there are of each.
        law: How long engines take.
        strategy: By whose name the selector chooses.
    """

    def __init__(self, kinds, replicas, law, strategy):
        self._now, self._events, self._order = 0.0, [], itertools.count()
        self._overhead = law.overhead
        self._engines = {}
        for kind, count in zip(kinds, replicas, strict=True):
            for number in range(count):
                address = f"{kind.name}-{number}:1"
                self._engines[address] = _Engine(kind, law.times(kind.slower), address)
        entries = tuple(
            CatalogEntry(
                name=one.name, quality=one.quality, input_price=one.price, output_price=one.price
            )
            for one in kinds
        )
        settings = SelectorSettings(catalog=entries, default_strategy=strategy)
        self._held = ()
        self._selector = ModelSelector(settings, lambda: self._held, clock=lambda: self._now)

    def run(self, jobs):
        """Answer all jobs; they know afterwards when they ended and what they cost."""
        dice = np.random.default_rng(3)
        for job in jobs:
            self._at(job.at, self._arrive, job, dice.bytes(16))
        left, looked = len(jobs), -_LOOK_SECONDS
        while left:
            self._now, _, do, *what = heapq.heappop(self._events)
            if self._now - looked >= _LOOK_SECONDS:
                self._look()
                looked = self._now
            left -= bool(do(*what))
        return jobs

    def _at(self, when, do, *what):
        heapq.heappush(self._events, (when, next(self._order), do, *what))

    def _look(self):
        self._held = tuple(
            ServedModel(
                one.kind.name, "v1", one.address, context=_CONTEXT, slots=one.law.slots,
                capabilities=frozenset({"chat", "completion"}), running=one.running,
                waiting=len(one.waiting), step_seconds=one.step,
            )
            for one in self._engines.values()
        )  # fmt: skip

    def _arrive(self, job, key):
        request = Selection(
            request_id=key.hex(),
            prompt_bytes=job.prompt,
            max_tokens=job.output,
            capabilities=frozenset({"chat"}),
            conversation_key=key,
        )
        plan_id, plan = self._selector.select(request, brief=True)
        candidate = plan.candidates[0]
        engine = self._engines[candidate.address]
        asked = (job, plan_id, candidate.endpoint)
        if engine.running < engine.law.slots:
            self._start(engine, asked)
        else:
            engine.waiting.append(asked)

    def _start(self, engine, asked):
        engine.settle(self._now)
        engine.running += 1
        read = self._now + engine.law.prefill * asked[0].prompt
        self._at(read, self._decode, engine, asked)
        self._expect(engine)

    def _decode(self, engine, asked):
        engine.settle(self._now)
        asked[0].first = self._now + engine.step
        done = engine.steps + asked[0].output
        heapq.heappush(engine.decoding, (done, next(self._order), asked))
        self._expect(engine)

    def _expect(self, engine):
        """Wait for the next sequence to end, at the pace of this moment."""
        engine.turn += 1
        if engine.decoding:
            left = max(0.0, engine.decoding[0][0] - engine.steps)
            self._at(self._now + left * engine.step, self._end, engine, engine.turn)

    def _end(self, engine, turn):
        if turn != engine.turn:
            return False
        engine.settle(self._now)
        _, _, (job, plan_id, endpoint) = heapq.heappop(engine.decoding)
        engine.running -= 1
        if engine.waiting:
            self._start(engine, engine.waiting.popleft())
        else:
            self._expect(engine)
        job.ended = self._now + self._overhead
        job.dollars = engine.kind.price * (job.prompt + job.output) / 1e6
        seen = Observation(
            time_to_first_token=job.first - job.at,
            seconds_per_token=(self._now - job.first) / max(1, job.output - 1),
            usage=Usage(job.prompt, job.output),
            prompt_bytes=job.prompt,
        )
        self._selector.report(plan_id, [(endpoint, seen)])
        return True


def spread(replicas, kinds):
    """Return how many replicas each model has of so many: by its share, one at least if it can."""
    counts = [0] * len(kinds)
    for _ in range(replicas):
        lacks = [
            (count / kind.share, -kind.share) for count, kind in zip(counts, kinds, strict=True)
        ]
        counts[lacks.index(min(lacks))] += 1
    return counts


def jobs_of(sizes, rate, count):
    """Return so many jobs with the rhythm and the sizes of a trace, at a mean rate per second.

    Args:
        sizes: Arrival in seconds, tokens of prompt and answer, of each; taken anew at its end.
        rate: Arrivals per second.
        count: Of jobs.
    """
    taken = sizes[:count]
    length = (taken[-1][0] - taken[0][0]) * (1 + 1 / len(taken)) or 1.0
    scale = (len(taken) / length) / rate
    return [
        Job((at - taken[0][0] + lap * length) * scale, prompt, output)
        for lap in range(count // len(taken) + 1)
        for at, prompt, output in taken
    ][:count]


def rate_at(load, engines, sizes):
    """Return the arrivals per second that keep so large a share of all slots busy.

    Args:
        load: 0 to 1.
        engines: Law of each engine.
        sizes: As of `jobs_of`.
    """
    prompt, output = (float(np.mean([one[part] for one in sizes])) for part in (1, 2))
    return sum(
        load * law.slots / law.service(prompt, output, max(1.0, load * law.slots))
        for law in engines
    )


def summary(jobs):
    """Return what a run came to: seconds of answers, answers per second, dollars per thousand.

    `answers_per_second` is the rate of the first 80 % of the answers, `all_per_second` that of all.
    """
    seconds = np.array([job.ended - job.at for job in jobs])
    # At its end a burst waits for the one engine that had a few more than the others: that is the
    # luck of the draw, here and there, and not what the engines do in a second.
    most = math.ceil(_MOST * len(jobs))
    ends = sorted(job.ended - jobs[0].at for job in jobs)
    return {
        "mean_seconds": float(seconds.mean()),
        "p50_seconds": float(np.percentile(seconds, 50)),
        "p95_seconds": float(np.percentile(seconds, 95)),
        "answers_per_second": most / ends[most - 1],
        "all_per_second": len(jobs) / ends[-1],
        "dollars_per_1000": 1000 * float(np.mean([job.dollars for job in jobs])),
    }
