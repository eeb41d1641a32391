"""`make bench NAME=scale`: from one replica to two hundred, simulated from measured times.

A real cluster of up to three engines gives the law of an answer's time and is asked for loads that
the simulation is then held to. Three models share the simulated replicas; every strategy of the
selector chooses for the same requests, with the rhythm and the sizes of a recorded trace.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from tests.benchmarks.report import Report
from tests.benchmarks.scale_plot import draw
from tests.benchmarks.scale_runs import SLOTS, before_others, measured
from tests.benchmarks.scale_world import (
    Job,
    Kind,
    Law,
    VirtualCluster,
    jobs_of,
    rate_at,
    spread,
    summary,
)
from tests.benchmarks.selector_world import read_trace
from tests.support.cluster import why_no_cluster

from llmrouter.common.plan_mode import PlanMode
from llmrouter.selector.strategies import BUILT_IN, learned
from llmrouter.selector.strategy_settings import LearnedSettings

SIZES = (1, 2, 5, 10, 20, 50, 100, 200)
REAL = (1, 2, 3)
ONE, KINDS = (Kind("paced"),), (
    Kind("small", 0.5, 0.2, 0.5, 0.5),
    Kind("medium", 0.7, 1.0, 1.0, 0.3),
    Kind("large", 0.9, 4.0, 2.0, 0.2),
)  # fmt: skip
SUPPOSED = Law(0.01, 0.0002, 0.022, 0.002, SLOTS)
"""Where no cluster can be measured."""
_HELD_TO = ("mean_seconds", "answers_per_second")
TARGETS = {"model_error_worst": ("at_most", 0.15)}
_LONGEST_PROMPT, _LONGEST_ANSWER = 1000, 64
_BURST_PER_ENGINE = 40
_ONE_LOAD = 0.7, 20
"""Share of the slots of so many replicas that the load keeps busy which does not grow."""


def add_options(parser):
    """Add the benchmark's own options."""
    parser.add_argument("--trace", type=Path, help="azure_llm_conv.csv; without it: made up")
    parser.add_argument("--seconds", type=float, default=25, help="of each real load (25)")
    parser.add_argument("--per-replica", type=int, default=50, help="simulated requests (50)")
    parser.add_argument("--plots", type=Path, help="folder for the picture")


def run(options) -> Report:
    """Measure, simulate and compare."""
    report, began = Report("scale", targets=TARGETS), time.monotonic()
    console = Console(stderr=True)

    def tell(what):
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/] {what}", highlight=False)

    sizes = _sizes(options.trace, report)
    law, real = _held_to_reality(report, sizes, options.seconds, tell)
    curves = {}
    for name in _strategies():
        curves[name] = [
            (count, _grown(law, name, count, sizes, options.per_replica)) for count in SIZES
        ]
        tell(f"simulated: {name}")
        for count in (10, 200):
            told = curves[name][SIZES.index(count)][1]
            for what in ("p95_seconds", "dollars_per_1000"):
                report.figures[f"simulated_{what}_{name}_{count}"] = told[what]
    growing = _one_load(law, sizes, options.per_replica)
    report.notes |= {"law": vars(law), "curves": curves, "one_load": growing, "real": real}
    if options.plots is not None:
        draw(curves, growing, real, options.plots / "scale.png")
    return report


def _sizes(trace, report):
    if trace is None:
        report.skipped["recorded trace"] = "--trace names no file; requests are made up"
        dice = np.random.default_rng(7)
        found = zip(
            np.cumsum(dice.exponential(1.0, 4000)).tolist(),
            dice.lognormal(5.5, 0.8, 4000).astype(int).tolist(),
            dice.lognormal(4.5, 0.7, 4000).astype(int).tolist(),
            strict=True,
        )
    else:
        found = read_trace(trace, 4000)
    return [
        (at, min(_LONGEST_PROMPT, max(1, prompt)), min(_LONGEST_ANSWER, max(1, output)))
        for at, prompt, output in found
    ]


def _strategies():
    """Return the strategies that give each request to one model; a cascade asks several."""
    known = (*BUILT_IN, learned(LearnedSettings()))
    return [one.name for one in known if one.mode is PlanMode.FIRST_OF]


def _held_to_reality(report, sizes, seconds, tell):
    """Measure a real cluster and simulate the same; return its law, and both for each load."""
    reason = why_no_cluster()
    if reason:
        report.skipped["real runs"] = f"{reason}; the times of an engine are supposed"
        return SUPPOSED, []

    def loads(law, engines):
        rate = rate_at(0.6, [law] * engines, sizes)
        burst = [Job(0.0, p, o) for _, p, o in sizes[: engines * _BURST_PER_ENGINE]]
        return {"trace": jobs_of(sizes, rate, int(rate * seconds)), "burst": burst}

    with before_others() as refused:
        law, found, taken = asyncio.run(measured(REAL, loads, tell))
    if refused:
        report.skipped["priority"] = refused
    report.figures |= {f"law_{name}": value for name, value in vars(law).items()}
    compared, errors = [], []
    for (engines, name), jobs in found.items():
        really = summary(jobs)
        again = [Job(job.at, job.prompt, job.output) for job in jobs]
        told = summary(VirtualCluster(ONE, [engines], law, "balanced").run(again))
        report.figures[f"real_{name}_processors_{engines}"] = taken[engines, name]
        compared.append((engines, name, really["mean_seconds"], told["mean_seconds"]))
        for what in (*_HELD_TO, "all_per_second"):
            report.figures[f"real_{name}_{what}_{engines}"] = really[what]
            report.figures[f"simulated_{name}_{what}_{engines}"] = told[what]
        errors += [abs(told[what] / really[what] - 1) for what in _HELD_TO]
    report.figures["model_error_worst"] = max(errors)
    report.figures["model_error_mean"] = float(np.mean(errors))
    return law, compared


def _grown(law, strategy, replicas, sizes, per_replica):
    """Return what a load came to that keeps half of all slots busy."""
    counts = spread(replicas, KINDS)
    laws = [
        law.times(kind.slower)
        for kind, count in zip(KINDS, counts, strict=True)
        for _ in range(count)
    ]
    jobs = jobs_of(sizes, rate_at(0.5, laws, sizes), max(300, per_replica * replicas))
    return summary(VirtualCluster(KINDS, counts, law, strategy).run(jobs))


def _one_load(law, sizes, per_replica):
    """Return what one load comes to on more and more replicas of one model."""
    load, replicas = _ONE_LOAD
    rate = rate_at(load, [law] * replicas, sizes)
    told = []
    for count in (12, 14, 16, 20, 30, 50, 100, 200):
        jobs = jobs_of(sizes, rate, per_replica * replicas)
        told.append((count, summary(VirtualCluster(ONE, [count], law, "balanced").run(jobs))))
    return told
