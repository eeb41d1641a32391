"""A small world of five models in virtual time, in which the selector has to do well.

One model grows five times slower, one fails from some moment on, one fails at first and recovers.
Requests come as in a recorded trace; each has a ceiling for its whole latency. The selector learns
only from outcomes, as from a gateway that tries the next candidate when one fails. An oracle makes
the same choices from the truth: the regret is what a strategy scores less than it.
"""

from __future__ import annotations

import csv
import heapq
import math
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from llmrouter.common.errors import RouterError
from llmrouter.common.generation import RoutingWishes, Usage
from llmrouter.selector.catalog import ServedModel
from llmrouter.selector.evidence import Measure
from llmrouter.selector.figures import Figures
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.plan import Selection
from llmrouter.selector.selection import Policy, choose
from llmrouter.selector.settings import CatalogEntry, SelectorSettings
from llmrouter.selector.statistics import Observation

SECONDS = 1800.0
SLOTS = 32
FIXED_TOKENS = 64
FAILURE_SECONDS = 0.05
BYTES_PER_TOKEN = 4.0


@dataclass(frozen=True)
class World:
    """One model as it really is."""

    name: str
    quality: float
    price: float
    pace: float
    """Seconds of prefill per token."""
    per_token: float

    def speed(self, now):
        """How many times slower than at first."""
        if self.name != "degrading":
            return 1.0
        return 1.0 + 4.0 * min(1.0, max(0.0, now / SECONDS - 0.3) / 0.3)

    def fails(self, now):
        if self.name == "failing":
            return now > 0.4 * SECONDS
        return self.name == "recovering" and now < 0.3 * SECONDS


MODELS = (
    World("degrading", 0.80, 2.0, 0.0004, 0.008),
    World("failing", 0.85, 3.0, 0.0005, 0.010),
    World("large", 0.90, 8.0, 0.0008, 0.016),
    World("recovering", 0.75, 1.0, 0.0003, 0.008),
    World("small", 0.50, 0.5, 0.0002, 0.005),
)


@dataclass
class Asked:
    """One request: when it comes, its sizes, and how long it may take."""

    at: float
    prompt_tokens: int
    output_tokens: int
    ceiling: float


def read_trace(path, count):
    """Return arrival in seconds, prompt and answer tokens of a trace's first requests."""
    with path.open() as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(count), strict=False)]
    # Its times have seven decimals, one more than the standard's.
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
    return [
        ((at - times[0]).total_seconds(), int(row["ContextTokens"]), int(row["GeneratedTokens"]))
        for at, row in zip(times, rows, strict=True)
    ]


def requests(count, trace=None):
    """So many requests over the whole time, with the rhythm and the sizes of a trace."""
    dice = np.random.default_rng(7)
    if trace is None:
        at = np.cumsum(dice.exponential(1.0, count)).tolist()
        sizes = dice.lognormal(5.5, 0.8, count), dice.lognormal(4.5, 0.7, count)
        trace = list(zip(at, *(one.astype(int).tolist() for one in sizes), strict=True))
    made, scale = [], SECONDS / (trace[-1][0] or 1.0)
    for at, context, generated in trace:
        prompt, output = min(6000, max(1, context)), min(1000, max(1, generated))
        # A healthy large model takes 0.8 of the tightest ceiling.
        usual = 0.0008 * (prompt + FIXED_TOKENS) + 0.016 * output
        ceiling = 0.5 + usual * dice.uniform(1.25, 3.0)
        made.append(Asked(at * scale, prompt, output, ceiling))
    return made


@dataclass
class _Run:
    selector: ModelSelector
    now: float = 0.0
    held: tuple = ()
    running: dict = field(default_factory=lambda: {one.name: 0 for one in MODELS})
    ends: list = field(default_factory=list)
    dice: np.random.Generator = field(default_factory=lambda: np.random.default_rng(11))
    used: dict = field(default_factory=lambda: {one.name: 0 for one in MODELS})


def run(strategy, asked):
    """Run one strategy through the requests; return its figures."""
    world = _Run(None)
    entries = tuple(
        CatalogEntry(
            name=one.name, quality=one.quality, input_price=one.price, output_price=one.price
        )
        for one in MODELS
    )
    settings = SelectorSettings(catalog=entries, default_strategy=strategy.name)
    world.selector = ModelSelector(settings, lambda: world.held, clock=lambda: world.now)
    in_time, regrets, cost = [], [], 0.0
    next_look = 0.0
    for one in asked:
        while world.ends and world.ends[0][0] <= one.at:
            world.now, _, name, report = heapq.heappop(world.ends)
            world.running[name] -= 1
            world.selector.report(*report)
        world.now = one.at
        if world.now >= next_look:
            world.held, next_look = _look(world), world.now + 1.0
        request = _request(one)
        best, scores = _oracle(world, strategy, request)
        seconds, name, spent = _answer(world, one, request)
        cost += spent
        ok = name is not None and seconds <= one.ceiling
        in_time.append(ok)
        got = scores.get(name, 0.0) if ok else 0.0
        if best > 0:
            regrets.append(max(0.0, 1 - got / best))
    return {
        "in_time": float(np.mean(in_time)),
        "regret": float(np.mean(regrets)),
        "dollars": cost,
    }


def _look(world):
    return tuple(
        ServedModel(
            one.name, "v1", "host:1", context=8192, slots=SLOTS,
            capabilities=frozenset({"chat", "completion"}),
            running=min(SLOTS, world.running[one.name]),
            waiting=max(0, world.running[one.name] - SLOTS),
        )
        for one in MODELS
    )  # fmt: skip


def _request(one):
    return Selection(
        request_id=f"{one.at:.6f}",
        prompt_bytes=int(one.prompt_tokens * BYTES_PER_TOKEN),
        max_tokens=one.output_tokens,
        capabilities=frozenset({"chat"}),
        wishes=RoutingWishes(max_latency=one.ceiling),
    )


def _answer(world, one, request):
    """Try the plan's candidates as the gateway does; return seconds, model and dollars."""
    try:
        plan_id, plan = world.selector.select(request, brief=True)
    except RouterError:
        return math.inf, None, 0.0
    spent, told = 0.0, []
    for candidate in plan.candidates:
        model = next(model for model in MODELS if model.name == candidate.model)
        world.used[model.name] += 1
        if model.fails(world.now):
            spent += FAILURE_SECONDS
            told.append((candidate.endpoint, Observation("GENERATION_FAILED", failed=True)))
            continue
        first, between = _times(world, model, one)
        usage = Usage(one.prompt_tokens, one.output_tokens)
        told.append((
            candidate.endpoint,
            Observation(
                time_to_first_token=first, seconds_per_token=between, usage=usage,
                prompt_bytes=request.prompt_bytes,
            ),
        ))  # fmt: skip
        seconds = spent + first + between * one.output_tokens
        world.running[model.name] += 1
        end = (world.now + seconds, len(world.ends), model.name, (plan_id, told))
        heapq.heappush(world.ends, (end[0], one.at, model.name, end[3]))
        dollars = model.price * (usage.prompt_tokens + usage.completion_tokens) / 1e6
        return seconds, model.name, dollars
    world.selector.report(plan_id, told)
    return math.inf, None, 0.0


def _times(world, model, one):
    """Seconds to the first token and between tokens: a full engine lets wait, and times vary."""
    slower = model.speed(world.now) * max(1.0, (world.running[model.name] + 1) / SLOTS)
    varies = world.dice.lognormal(0.0, 0.08, 2)
    first = model.pace * (one.prompt_tokens + FIXED_TOKENS) * slower * varies[0]
    return first, model.per_token * slower * varies[1]


def _oracle(world, strategy, request):
    """Return the best score that the truth allows, and every model's by its name."""
    selector = world.selector
    view = selector.live.view()
    count, measures = len(view.models), len(Measure)
    truth = np.zeros((count, measures))
    for row, model in enumerate(MODELS):
        slower = model.speed(world.now)
        truth[row] = (0.0, model.pace * slower, model.per_token * slower)
    figures = Figures(
        believed=truth.T,
        bytes_per_token=np.full(count, BYTES_PER_TOKEN),
        spread=np.zeros((measures, count)),
        turns=None,
        loads=selector.live.loads,
        drained=None,
        requests=np.array([float(world.running[one.name]) for one in MODELS]),
        tokens=np.zeros(count),
        blocked=np.array([one.fails(world.now) for one in MODELS]),
    )
    scored = replace(strategy, picker="best")
    try:
        choice = choose(request, view, figures, scored, Policy())
    except RouterError:
        return 0.0, {}
    scores = {view.models[row].name: choice.scores.item(row) for row in choice.order.tolist()}
    return max(scores.values()), scores
