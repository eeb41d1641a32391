"""`make bench NAME=limits`: exactness under load, and what limits cost.

Eight processes, each with the gateway's own links over one Redis, and 200 callers that ask as fast
as they can. What a request costs without rules, with rules in memory and over Redis is measured
beside a chain without these links, in the same run.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time

from tests.benchmarks.limits_callers import chain, one_by_one, spread
from tests.benchmarks.report import Report
from tests.support.redis_server import KEEPING, PROGRAM, RedisServer

PROCESSES, CALLERS = 8, 200
SECONDS = 10.0
PER_SECOND, PER_HOUR, TOKENS = 400, 6000, 300_000


def run():
    report = Report("limits")
    for name, rules in _IN_MEMORY.items():
        times = asyncio.run(one_by_one(rules))
        report.figures[f"microseconds_{name}"] = statistics.median(times)
        report.spreads[f"microseconds_{name}"] = (min(times), max(times))
    bare = report.figures["microseconds_bare"]
    report.figures["added_without_rules"] = report.figures["microseconds_no_rules"] - bare
    report.targets["added_without_rules"] = ("at_most", 2.0)
    if PROGRAM is None:
        report.skipped["shared"] = "there is neither redis-server nor valkey-server"
        return report
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(folder, options=KEEPING)
        server.start()
        try:
            _shared(server, report)
        finally:
            server.stop()
    return report


_IN_MEMORY = {
    "bare": None,
    "no_rules": [],
    "three_rules": [
        {"name": "rates", "per": ["tenant"], "requests_per_second": 10**9},
        {"name": "streams", "per": ["key"], "concurrent_streams": 10**6},
        {"name": "budget", "per": ["tenant"], "tokens_per_day": 10**12, "dollars_per_month": 10**6},
    ],
}


def _shared(server, report):
    rolling = _hammer(server, [{"name": "second", "requests_per_second": PER_SECOND}], SECONDS)
    admitted = sum(one["admitted"] for one in rolling)
    span = max(one["last"] for one in rolling) - min(one["first"] for one in rolling)
    report.figures["second_admitted_share"] = admitted / (PER_SECOND * SECONDS)
    report.targets["second_admitted_share"] = ("at_least", 0.98)
    # As much as a window that slides lets in over such a span.
    report.figures["second_above"] = max(0, admitted - PER_SECOND * (int(span) + 1))
    asked = sum(one["asked"] for one in rolling)
    report.figures["decisions_per_second"] = asked / SECONDS
    report.figures["decision_milliseconds_p50"], report.figures["decision_milliseconds_p99"] = (
        spread([value for one in rolling for value in one["milliseconds"]])
    )
    hour = _hammer(server, [{"name": "hour", "requests_per_hour": PER_HOUR}], SECONDS)
    admitted = sum(one["admitted"] for one in hour)
    report.figures["hour_admitted_share"] = admitted / PER_HOUR
    report.targets["hour_admitted_share"] = ("at_least", 0.98)
    report.figures["hour_above"] = max(0, admitted - PER_HOUR)
    tokens = _hammer(server, [{"name": "tokens", "tokens_per_day": TOKENS}], SECONDS)
    used = sum(one["tokens"] for one in tokens)
    left = asyncio.run(_left(server, [{"name": "tokens", "tokens_per_day": TOKENS}]))
    report.figures["tokens_used_share"] = used / TOKENS
    report.targets["tokens_used_share"] = ("at_least", 0.98)
    report.figures["tokens_above"] = max(0, used - TOKENS)
    report.figures["tokens_miscounted"] = abs(TOKENS - left - used)
    for name in ("second_above", "hour_above", "tokens_above", "tokens_miscounted"):
        report.targets[name] = ("at_most", 0)
    report.notes["load"] = {"processes": PROCESSES, "callers": CALLERS, "seconds": SECONDS}


async def _left(server, rules):
    """Return the tokens that the server says are left."""
    async with chain(rules, server.address) as asking:
        told = await asking.standing()
    return int(told["x-ratelimit-remaining-tokens"])


def _hammer(server, rules, seconds):
    """Have all processes ask at once; return what each one saw."""
    told = json.dumps({"address": server.address, "rules": rules, "seconds": seconds,
                       "callers": CALLERS // PROCESSES, "begin": time.time() + 8})  # fmt: skip
    command = [sys.executable, "-m", "tests.benchmarks.limits_callers", told]
    running = [
        subprocess.Popen([*command, str(place)], stdout=subprocess.PIPE, text=True)
        for place in range(PROCESSES)
    ]
    found = [one.communicate(timeout=seconds + 60)[0] for one in running]
    return [json.loads(one) for one in found]
