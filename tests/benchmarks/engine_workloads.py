"""What the contestants are asked: prompts of random tokens, so that none shares a prefix."""

import csv
import random
from datetime import datetime
from pathlib import Path

from tests.benchmarks.peers.protocol import Job, Request

__all__ = ["Prompts", "at_once", "read_trace", "trace_job", "under_prefill"]

TOKENS = range(1000, 40000)
"""Ids of ordinary pieces of text; the first ones of the vocabulary are bytes and control tokens."""

FIRST_SECONDS, FIRST_SECONDS_PER_TOKEN, SECONDS_PER_TOKEN = 0.3, 0.003, 0.08
"""What is in time: the first token, more for each of the prompt, and each token after it."""

IN_TIME = 0.9
SCALE = 4


class Prompts:
    """Prompts of exact lengths; no two of one source are alike."""

    def __init__(self, seed=1):
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def __call__(self, length):
        return [self._random.choice(TOKENS) for _ in range(length)]


def at_once(prompts, answers, prompt_tokens=100, *, stream=False):
    """Return a job of one request per length in `answers`, all at once."""
    return Job([Request(prompts(prompt_tokens), tokens) for tokens in answers], stream)


def under_prefill(prompts, *, at, streams=8, tokens=300, long=1500):
    """Return a job of running streams and, last, a long prompt that comes while they run."""
    requests = [Request(prompts(100), tokens) for _ in range(streams)]
    return Job([*requests, Request(prompts(long), 1, at=at)])


def read_trace(path: Path, requests=200):
    """Return `(seconds, prompt tokens, answer tokens)` of the first requests, lengths scaled."""
    with path.open() as file:
        rows = [row for row, _ in zip(csv.DictReader(file), range(requests), strict=False)]
    # Its times have seven decimals, one more than the standard's.
    times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in rows]
    return [
        (
            (time - times[0]).total_seconds(),
            max(1, int(row["ContextTokens"]) // SCALE),
            max(1, int(row["GeneratedTokens"]) // SCALE),
        )
        for time, row in zip(times, rows, strict=True)
    ]


def trace_job(prompts, trace, rate):
    """Return the job of a trace whose arrivals are sped up to `rate` requests per second.

    It is given up once more requests than may are out of time.
    """
    speed = rate * trace[-1][0] / len(trace)
    requests = [
        Request(
            prompts(prompt),
            tokens,
            at=seconds / speed,
            first_by=FIRST_SECONDS + FIRST_SECONDS_PER_TOKEN * prompt,
            per_token=SECONDS_PER_TOKEN,
        )
        for seconds, prompt, tokens in trace
    ]
    return Job(requests, most_misses=int((1 - IN_TIME) * len(trace) + 1e-9))
