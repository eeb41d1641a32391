"""Measures that compare: our engine and its peers do the same jobs in turn.

A ratio is the median over the pairs (ours, peer) of one run; `spread` is its lowest and highest.
"""

import itertools
import statistics
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from tests.benchmarks.engine_workloads import Prompts, at_once, trace_job, under_prefill
from tests.benchmarks.peers.contestants import AT_ONCE, contestants
from tests.benchmarks.peers.worker import Worker, WorkerLostError

__all__ = [
    "Field",
    "Results",
    "measure_alone",
    "measure_at_once",
    "measure_concurrency",
    "measure_gaps",
    "measure_trace",
]

EQUAL = [64] * AT_ONCE
UNEQUAL = [16 + round(96 * index / (AT_ONCE - 1)) for index in range(AT_ONCE)]
ALONE = [128]
CONCURRENCY = (1, 2, 4, 8, 16)
STREAMING = ("openvino", "llamacpp")
"""Peers that add a request to those that run already."""
TRACE_GOALS = {"genai": 2.0, "llamacpp": 1.3, "openvino": 1.2}
"""What the engine's rate of arrivals is to be over each peer's, at least."""
SHORT = 60
"""Requests of the trace in the first passes of the search."""
LOG = Console(stderr=True)


@dataclass
class Results:
    """What a measure found."""

    figures: dict = field(default_factory=dict)
    spreads: dict = field(default_factory=dict)
    curves: dict = field(default_factory=dict)
    """Points for plots, by name."""

    def add(self, name, values):
        """Add the median of values as a figure."""
        self.figures[name] = statistics.median(values)
        self.spreads[name] = (min(values), max(values))


class Field:
    """The workers of those who take part. Who is missing or breaks is told in `skipped`."""

    def __init__(self, only=()):
        self._all = contestants()
        self.skipped = {
            name: "not asked for"
            for name in self._all
            if only and name not in only and not name.startswith("ours")
        }
        self.told = {}
        self._workers = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self._workers.values():
            worker.close()

    def present(self, *names):
        """Return which of these take part, in their order. Asking starts them."""
        return [name for name in names if self._started(name)]

    def peers(self, bits):
        """Return the names of the peers with weights of so many bits."""
        return self.present(
            *(
                name
                for name, contestant in self._all.items()
                if contestant.bits == bits and not name.startswith("ours")
            )
        )

    def _started(self, name):
        if name not in self._workers and name not in self.skipped:
            try:
                self._workers[name] = Worker(self._all[name])
                self.told[name] = self._workers[name].told
            except WorkerLostError as lost:
                self._skip(name, lost)
        return name in self._workers

    def rate(self, name, job):
        """Return generated tokens per second, or None when the worker broke."""
        done = self.ask(name, job)
        if done is None:
            return None
        outcomes, seconds = done
        return sum(outcome.tokens for outcome in outcomes) / seconds

    def ask(self, name, job):
        """Return the outcomes of a job and its seconds, or None when the worker broke.

        Outside a search for the highest rate, an answer of another length is no result.
        """
        if not self._started(name):
            return None
        try:
            outcomes, seconds = self._workers[name].ask(job)
        except WorkerLostError as lost:
            del self._workers[name]
            self._skip(name, lost)
            return None
        wrong = [
            outcome.error or f"{outcome.tokens} tokens instead of {request.tokens}"
            for request, outcome in zip(job.requests, outcomes, strict=True)
            if outcome.error or outcome.tokens != request.tokens
        ]
        if wrong and job.most_misses < 0:
            self._workers.pop(name).close()
            self._skip(name, wrong[0])
            return None
        return outcomes, seconds

    def _skip(self, name, reason):
        self.skipped[name] = str(reason)
        LOG.print(f"[yellow]{name} skipped: {reason}[/]")


def _pairs(field, ours, peers, make_job, repeats):
    """Run ours and each peer in turn; return the pairs of rates by peer. The first pair warms."""
    prompts, pairs = Prompts(), {peer: [] for peer in peers}
    for repeat in range(repeats + 1):
        for peer in field.present(*peers):
            rates = [field.rate(name, make_job(prompts)) for name in (ours, peer)]
            if repeat > 0 and None not in rates:
                pairs[peer].append(rates)
    return {peer: found for peer, found in pairs.items() if found}


def _compare(results, measure, ours, pairs):
    for peer, found in pairs.items():
        results.add(f"{measure}_{peer}", [theirs for _, theirs in found])
        results.add(f"{measure}_over_{peer}", [mine / theirs for mine, theirs in found])
        rates = f"{results.figures[f'{measure}_{peer}']:.0f} tokens/s"
        LOG.print(f"{measure}: {results.figures[f'{measure}_over_{peer}']:.2f} x {peer} ({rates})")
    if pairs:
        results.add(f"{measure}_{ours}", [mine for found in pairs.values() for mine, _ in found])


def _both_widths(field):
    yield "ours", [*field.peers(8), *field.present("openvino_q4_1")]
    yield "ours_4bit", field.present("llamacpp_q4_0")


def measure_at_once(field, repeats):
    """16 requests of 100 tokens at once, answered by 64 tokens each, and by 16 to 112."""
    results = Results()
    for measure, answers in (("equal", EQUAL), ("unequal", UNEQUAL)):
        for ours, peers in _both_widths(field):
            pairs = _pairs(
                field, ours, peers, lambda prompts, a=answers: at_once(prompts, a), repeats
            )
            _compare(results, measure, ours, pairs)
    return results


def measure_alone(field, repeats):
    """One stream alone: generated tokens per second, its short prompt included."""
    results = Results()
    for ours, peers in _both_widths(field):
        pairs = _pairs(field, ours, peers, lambda prompts: at_once(prompts, ALONE), repeats)
        _compare(results, "alone", ours, pairs)
    best = [
        results.figures[f"alone_{peer}"]
        for peer in field.peers(8)
        if f"alone_{peer}" in results.figures
    ]
    if best:
        results.figures["alone_over_best"] = results.figures["alone_ours"] / max(best)
    return results


def measure_concurrency(field, repeats):
    """Generated tokens per second by requests at once, of equal lengths."""
    results, prompts = Results(), Prompts()
    names = field.present("ours", *field.peers(8), "openvino_q4_1")
    for count in CONCURRENCY:
        for name in names:
            rates = [
                field.rate(name, at_once(prompts, [64] * count)) for _ in range(max(1, repeats - 1))
            ]
            if None not in rates:
                results.curves.setdefault(name, []).append((count, statistics.median(rates)))
    return results


def measure_gaps(field, repeats):
    """Gaps between the tokens of 8 streams while a prompt of 1,500 tokens is computed."""
    results, prompts = Results(), Prompts()
    for name in field.present("ours", *STREAMING):
        found = [gaps for _ in range(repeats) if (gaps := _gaps(field, name, prompts))]
        for figure in ("p99_seconds", "p99_over_median", "p99_over_quiet_median"):
            if found:
                results.add(f"gap_{figure}_{name}", [gaps[figure] for gaps in found])
        if found:
            results.curves[name] = found[-1]["curve"]
    return results


def _gaps(field, name, prompts):
    """Return the figures of one run; None when the streams did not run before and meanwhile."""
    warm = field.ask(name, at_once(prompts, [64] * 8))
    if warm is None:
        return None
    begin = warm[1]  # By then the same streams have sent as many tokens.
    done = field.ask(name, under_prefill(prompts, at=begin))
    if done is None:
        return None
    *streams, long = done[0]
    until, all_begun = long.times[0], max(stream.times[0] for stream in streams)
    gaps = [gap for stream in streams for gap in itertools.pairwise(stream.times)]
    meanwhile = [b - a for a, b in gaps if b > begin and a < until]
    quiet = [b - a for a, b in gaps if a >= all_begun and b <= begin]
    if not meanwhile or not quiet:
        return None
    late = float(np.percentile(meanwhile, 99))
    return {
        "p99_seconds": late,
        "p99_over_median": late / statistics.median(meanwhile),
        "p99_over_quiet_median": late / statistics.median(quiet),
        "curve": {"gaps": [(b - begin, b - a) for a, b in gaps], "until": until - begin},
    }


def measure_trace(field, trace, short_passes=3, full_passes=2):
    """The highest arrival rate of the trace at which enough requests are in time.

    Peers are first asked at the rate that our goal would leave them, which decides it.
    """
    results = Results()
    high, low, first = 12.0, 0.5, None
    for name in field.present("ours", "genai", *STREAMING):
        search = _Search(field, name, trace)
        if "trace_rate_ours" in results.figures:
            first = results.figures["trace_rate_ours"] / TRACE_GOALS[name]
        found = search.run(low, high, short_passes, full_passes, first)
        if found is None:
            continue
        results.figures[f"trace_rate_{name}"] = found
        results.curves[name] = search.tried
        if name == "ours":
            low, high = found / 4, found * 1.2
        elif "trace_rate_ours" in results.figures:
            ratio = results.figures["trace_rate_ours"] / found
            results.figures[f"trace_over_{name}"] = ratio
    return results


class _Search:
    """Bisects the arrival rate, first with the beginning of the trace, then with all of it."""

    def __init__(self, field, name, trace):
        self._field, self._name, self._trace = field, name, trace
        self._prompts = Prompts()
        self.tried = []

    def run(self, low, high, short_passes, full_passes, first=None):
        """Return the highest rate held with the whole trace, None when the worker broke.

        Without full passes, for a try of the search itself, with the beginning of it.
        A rate to try first, with as many requests as the passes have, cuts the range in two.
        """
        begin = self._trace[:SHORT]
        best = None
        if first is not None:
            held = self._holds(self._trace if full_passes else begin, first)
            low, high = (first, high) if held else (low, first)
            best = first if held else None
        for _ in range(short_passes):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self._holds(begin, middle) else (low, middle)
        for _ in range(full_passes):
            middle = (low * high) ** 0.5
            if self._holds(self._trace, middle):
                best = low = middle
            else:
                high = middle
        if full_passes == 0:
            return low if self._present() else None
        # The beginning of the trace may have promised too much: go down until it holds, then try
        # once between the last two.
        failed = high
        while best is None and low > 0.05 and self._present():
            if self._holds(self._trace, low):
                middle = (low * failed) ** 0.5
                best = middle if self._holds(self._trace, middle) else low
            failed, low = low, low / 1.2
        return best if self._present() else None

    def _present(self):
        return bool(self._field.present(self._name))

    def _holds(self, trace, rate):
        job = trace_job(self._prompts, trace, rate)
        done = self._field.ask(self._name, job)
        if done is None:
            return False
        pairs = list(zip(job.requests, done[0], strict=True))
        missed = sum(not outcome.in_time(request) for request, outcome in pairs)
        errors = sum(bool(outcome.error) for _, outcome in pairs)
        holds = missed <= job.most_misses and errors < 0.001 * len(pairs)
        self.tried.append((rate, len(trace), holds))
        LOG.print(f"{self._name}: {rate:.2f}/s of {len(trace)} {'holds' if holds else 'too fast'}")
        return holds
