"""`make bench NAME=gateway`: what the gateway costs, beside its peers and beside bare gRPC.

Over HTTP all ask the same provider, which answers at once; it and the load are compiled. Every
round measures each in turn, so that the moods of the machine fall on all; figures are medians over
the rounds, but for memory and the time to start, which are read once of each. `make bench-peers
ARGS=gateways` installs the peers.
"""

import asyncio
import contextlib
import logging
import tempfile
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import track
from tests.benchmarks import gateway_programs as programs
from tests.benchmarks.gateway_grpc import measure_calls
from tests.benchmarks.gateway_programs import Load
from tests.benchmarks.gateway_streams import measure_streams
from tests.benchmarks.report import Report

from llmrouter.common.logs import configure_logs
from llmrouter.common.standalone import configure_process

BUSY_CALLERS = 32
TARGETS = {
    "upstream_requests_per_second": ("at_least", 3000),
    "added_p50_over_litellm": ("at_most", 1 / 8),
    "added_p99_over_litellm": ("at_most", 1 / 8),
    "requests_per_second_over_litellm": ("at_least", 10),
    "memory_over_litellm": ("at_most", 0.5),
    "start_over_litellm": ("at_most", 0.5),
    "call_over_tensorzero": ("at_most", 2.5),
    "grpc_call_over_echo": ("at_most", 1.8),
    "streams_of_50_tokens_per_second": ("at_least", 1000),
    "streams_tokens_lost": ("at_most", 0),
}


def add_options(parser):
    """Say how much is measured."""
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long, each time")
    parser.add_argument("--only", choices=("http", "calls", "streams"), help="one part alone")


def run(arguments):
    """Measure what is asked for."""
    configure_process()  # both sides of the calls in this process as programs of ours are
    configure_logs(json=False, level=logging.WARNING)
    report = Report("gateway", targets=TARGETS)
    parts = {"http": _over_http, "calls": _calls, "streams": _streams}
    for name, part in parts.items():
        if arguments.only in (None, name):
            part(report, arguments)
    return report


def _calls(report, arguments):
    report.figures |= asyncio.run(measure_calls(arguments.rounds))


def _streams(report, arguments):
    del arguments
    figures, report.notes["streams"] = asyncio.run(measure_streams())
    report.figures |= figures


def _over_http(report, arguments):
    try:
        programs.build_tools()
    except LookupError as missing:
        report.skipped["http"] = str(missing)
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(programs.upstream())
        gateways = [stack.enter_context(programs.ours(address, folder).running())]
        for name, (needed, gateway) in programs.PEERS.items():
            if needed.exists():
                gateways.append(stack.enter_context(gateway(address, folder).running()))
            else:
                report.skipped[name] = "`make bench-peers ARGS=gateways` installs it"
        embedded = None
        if not report.skipped:
            embedded = stack.enter_context(programs.tensorzero(address, folder))
        seen = _Seen(f"http://{address}/v1/chat/completions", gateways, embedded)
        rounds = range(arguments.rounds + 1)
        for number in track(rounds, "HTTP", console=Console(stderr=True)):
            seen.measure(arguments.seconds if number else 1.0, keep=number > 0)
        seen.tell(report)
        for one in gateways:
            report.figures[f"{one.name}_memory_mib"] = one.memory_bytes() / (1 << 20)
            report.figures[f"{one.name}_start_seconds"] = one.start_seconds
    _compare(report)


class _Seen:
    """The figures of every round, by name."""

    def __init__(self, bare, gateways, embedded):
        self._bare, self._gateways, self._embedded = bare, gateways, embedded
        self._values = {}

    def measure(self, seconds, *, keep):
        """Measure a round; the first one only warms up."""
        found = {}
        alone = Load.on(self._bare, 1, seconds)
        found["upstream_p50_ms"], found["upstream_p99_ms"] = alone.at(0.5), alone.at(0.99)
        busy = Load.on(self._bare, BUSY_CALLERS, seconds / 2)
        found["upstream_requests_per_second"] = busy.per_second
        for gateway in self._gateways:
            for way, stream in (("", False), ("stream_", True)):
                load = Load.on(gateway.url, 1, seconds, stream=stream)
                name = f"{gateway.name}_{way}"
                found[f"{name}p50_ms"], found[f"{name}p99_ms"] = load.at(0.5), load.at(0.99)
                if not stream:
                    found[f"{name}added_p50_ms"] = load.at(0.5) - alone.at(0.5)
                    found[f"{name}added_p99_ms"] = load.at(0.99) - alone.at(0.99)
                before = gateway.processor_seconds()
                busy = Load.on(gateway.url, BUSY_CALLERS, seconds, stream=stream)
                spent = gateway.processor_seconds() - before
                found[f"{name}requests_per_second"] = busy.per_second
                found[f"{name}processor_ms"] = 1000 * spent / busy.count
        if self._embedded is not None:
            load = self._embedded.load(1, seconds)
            found["tensorzero_p50_ms"], found["tensorzero_p99_ms"] = load.at(0.5), load.at(0.99)
            busy = self._embedded.load(BUSY_CALLERS, seconds)
            found["tensorzero_requests_per_second"] = busy.per_second
        if keep:
            for name, value in found.items():
                self._values.setdefault(name, []).append(value)

    def tell(self, report):
        """Give medians and spreads."""
        for name, values in self._values.items():
            report.figures[name] = median(values)
            report.spreads[name] = (min(values), max(values))


def _compare(report):
    found = report.figures
    if "litellm_p50_ms" in found:
        for name in ("added_p50_ms", "added_p99_ms", "requests_per_second"):
            ratio = found[f"ours_{name}"] / found[f"litellm_{name}"]
            found[f"{name.removesuffix('_ms')}_over_litellm"] = ratio
        for name, unit in (("memory", "mib"), ("start", "seconds")):
            ratio = found[f"ours_{name}_{unit}"] / found[f"litellm_{name}_{unit}"]
            found[f"{name}_over_litellm"] = ratio
    if "tensorzero_p50_ms" in found:
        found["call_over_tensorzero"] = found["ours_p50_ms"] / found["tensorzero_p50_ms"]
