"""What a worker and the benchmark say to each other: JSON, one object per line.

A worker gets its settings as its only argument and answers `{"ready": {...}}` once its model is
loaded. Each line on its stdin is then a job, `{"requests": [{"prompt", "tokens", "at", "first_by",
"per_token"}], "stream", "most_misses"}`, answered by `{"outcomes": [{"first", "last", "tokens",
"times", "error"}], "seconds"}`. All times are seconds since the job began.

Runs in the peers' environment too: standard library only.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field

__all__ = ["Job", "Outcome", "Request", "Tally", "drive", "serve"]


@dataclass
class Request:
    """One prompt of token ids, and how many tokens to answer it with, exactly."""

    prompt: list
    tokens: int
    at: float = 0.0
    """When it arrives."""
    first_by: float = 0.0
    """Seconds after `at` in which the first token is in time; 0 asks for none."""
    per_token: float = 0.0
    """Mean seconds of each token after the first that are in time; 0 asks for none."""


@dataclass
class Outcome:
    """What became of a request. `tokens` of 0 without an error: given up with its job."""

    times: list = field(default_factory=list)
    """When each token was seen; tokens that came together have the same time."""
    error: str = ""

    def note(self, now, tokens=1):
        self.times.extend([now] * tokens)

    @property
    def tokens(self):
        return len(self.times)

    def in_time(self, request):
        """Whether all tokens came, and as fast as the request asks."""
        if self.error or self.tokens < request.tokens:
            return False
        if request.first_by and self.times[0] - request.at > request.first_by:
            return False
        each = (self.times[-1] - self.times[0]) / max(1, self.tokens - 1)
        return not request.per_token or each <= request.per_token


@dataclass
class Job:
    """Requests in the order of their arrival."""

    requests: list
    stream: bool = True
    """Whether times of single tokens matter; without, a worker may tell them at the end."""
    most_misses: int = -1
    """Requests out of time after which the job is given up: its result is known. -1: never."""

    @classmethod
    def parse(cls, line):
        body = json.loads(line)
        return cls(**body | {"requests": [Request(**one) for one in body["requests"]]})


class Tally:
    """Collects the outcomes of a job and says when to give it up."""

    def __init__(self, job):
        self.job = job
        self.outcomes = [Outcome() for _ in job.requests]
        self.misses = 0
        self._began = time.perf_counter()

    def now(self):
        return time.perf_counter() - self._began

    def note(self, index, tokens=1):
        self.outcomes[index].note(self.now(), tokens)

    def finish(self, index, error=""):
        """Say that a request has ended."""
        outcome = self.outcomes[index]
        outcome.error = error
        self.misses += not outcome.in_time(self.job.requests[index])

    @property
    def hopeless(self):
        return 0 <= self.job.most_misses < self.misses

    def arrived(self, begin):
        """Return the end of the requests that have arrived, the first `begin` of them known."""
        now = self.now()
        while begin < len(self.job.requests) and self.job.requests[begin].at <= now:
            begin += 1
        return begin

    def wait_for(self, index):
        """Sleep until this request arrives."""
        time.sleep(max(0.0, self.job.requests[index].at - self.now()))


async def drive(tally, generate):
    """Run a job on something asynchronous: `generate(request, note)` notes tokens as they come."""

    async def one(index, request):
        await asyncio.sleep(max(0.0, request.at - tally.now()))
        try:
            await generate(request, lambda tokens: tally.note(index, tokens))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's outcome
            tally.finish(index, repr(error)[:200])
        else:
            tally.finish(index)

    waiting = {asyncio.create_task(one(*item)) for item in enumerate(tally.job.requests)}
    while waiting and not tally.hopeless:
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def serve(start):
    """Be a worker. `start(settings)` loads a model, returns `(told, run)`; `run(tally)` does jobs.

    Libraries write to stdout as they like, so that stdout is kept for the protocol under another
    number and theirs goes to stderr.
    """
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    told, run = start(json.loads(sys.argv[1]))
    out.write(json.dumps({"ready": told}) + "\n")
    for line in sys.stdin:
        tally = Tally(Job.parse(line))
        run(tally)
        body = {"seconds": tally.now(), "outcomes": [asdict(one) for one in tally.outcomes]}
        out.write(json.dumps(body) + "\n")
