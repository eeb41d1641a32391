"""What failures cost callers: questions that stay unanswered, and the pause of a lost stream.

The upstreams answer at once and fail on purpose, each a program of its own (`tests/support`),
before gateway, selector and cache in this process. With `--real` two inference services of the demo
model are killed as well, which have to read the answer so far before they go on with it.
"""

import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import median

from grpc import aio
from rich.console import Console
from rich.progress import track
from tests.benchmarks.report import Report
from tests.integration.suite.conftest import wait_until_ready
from tests.support.ports import free_ports
from tests.support.programs import program
from tests.support.suite_before import suite_before
from tests.support.upstream import MODEL, Upstream, upstream

from llmrouter.common.logs import configure_logs
from llmrouter.common.settings import data_directory
from llmrouter.v1 import generation_pb2 as g
from llmrouter.v1 import inference_pb2, model_pb2
from llmrouter.v1.inference_pb2_grpc import InferenceServiceStub
from llmrouter.v1.model_pb2_grpc import ModelServiceStub
from llmrouter_client import AsyncClient, Delta, Finished, LlmrouterError, Switched

REAL_MODEL = "smollm2-135m-instruct-int8"
AT_ONCE = 32
TOKENS = 8
WHOLE = "".join(f"{number} " for number in range(TOKENS))
KILLS = 8
LONG = 400
"""Tokens of an answer that is lost half way."""
TARGETS = {
    "answered_share": ("at_least", 0.999),
    "further_tries_share": ("at_most", 0.2),
    "pause_ms": ("at_most", 500.0),
    "pause_longest_ms": ("at_most", 500.0),
    "real_pause_ms": ("at_most", 500.0),
}


def add_options(parser):
    """Add what this benchmark can be told."""
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--faults", type=float, default=0.1, help="share of tries that fail")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--real", action="store_true", help="kill services of the demo model too")


def run(arguments):
    """Measure and return the report."""
    configure_logs(json=False, level=logging.ERROR)
    report = Report("failover", targets=dict(TARGETS))
    report.figures |= asyncio.run(_answered(arguments.requests, arguments.faults))
    pauses, detections = asyncio.run(_killed(arguments.kills))
    _tell(report, "pause", pauses)
    _tell(report, "loss_noticed", detections)
    if arguments.real:
        if (data_directory() / "models" / REAL_MODEL).is_dir():
            pauses, reading = asyncio.run(_really_killed(max(2, arguments.kills // 2)))
            _tell(report, "real_pause", pauses)
            _tell(report, "real_reading", reading)
        else:
            report.skipped["real_pause"] = f"{REAL_MODEL} is not in the store; pull it"
    report.targets = {name: one for name, one in TARGETS.items() if name in report.figures}
    return report


def _tell(report, name, seconds):
    report.figures[f"{name}_ms"] = median(seconds) * 1000
    report.figures[f"{name}_longest_ms"] = max(seconds) * 1000
    report.spreads[f"{name}_ms"] = min(seconds) * 1000, max(seconds) * 1000


async def _answered(count, faults):
    """Ask so many questions of which tries fail; return the shares."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with (
        upstream(faults=faults, tokens=TOKENS) as one,
        suite_before(one) as address,
        AsyncClient(address, retries=0, timeout=120) as client,
    ):

        async def ask(number):
            async with gate:
                try:
                    answer = await client.generate(f"Count, {number}.", cache=False)
                except LlmrouterError as error:
                    return False, int(error.metadata.get("attempts", 1))
                return answer.text == WHOLE, len(answer.attempts)

        began = time.monotonic()
        told = await asyncio.gather(*(ask(number) for number in range(count)))
        seconds = time.monotonic() - began
    return {
        "answered_share": sum(whole for whole, _ in told) / count,
        "further_tries_share": sum(tries for _, tries in told) / count - 1,
        "requests_per_second": count / seconds,
    }


async def _killed(kills):
    """Kill who answers, again and again; return the pauses, and when gRPC noticed the loss."""
    pauses, detections = [], []
    async with AsyncExitStack() as stack:
        manner = {"tokens": LONG, "pause": 0.005}
        running = [await stack.enter_async_context(upstream(**manner)) for _ in range(kills + 2)]
        address = await stack.enter_async_context(suite_before(*running))
        client = await stack.enter_async_context(AsyncClient(address, retries=0))
        by_address = {one.address: one for one in running}
        for number in track(range(kills), "killing upstreams", console=Console(stderr=True)):
            prompt = f"Count, {number}."
            first = await client.generate(prompt, cache=False)
            busy = by_address[first.attempts[-1].address]
            noticed = asyncio.create_task(_noticed(busy))

            async def found(busy=busy):
                return busy

            pauses.append((await _pause(client, prompt, found))[0])
            detections.append(await noticed - _Killed.at)
    return pauses, detections


class _Killed:
    """When the last one was."""

    at = 0.0


async def _noticed(busy):
    """Return when a stream straight from the service is known to be lost."""
    asked = g.GenerateRequest(prompt="Count.")
    context = g.RequestContext(request_id="straight", tenant="default")
    message = inference_pb2.InferRequest(context=context, model=MODEL, request=asked)
    async with aio.insecure_channel(busy.address) as channel:
        while True:
            try:
                async for _ in InferenceServiceStub(channel).Infer(message):
                    pass
            except aio.AioRpcError:
                return time.monotonic()


async def _pause(client, prompt, find, **options):
    """Return the seconds from the loss in the middle of an answer until its text goes on.

    And how many of them the one that goes on spent reading, by its own clock.
    """
    tokens, switched, at, pause = 0, False, 0.0, 0.0
    async with client.stream(prompt, cache=False, **options) as stream:
        async for event in stream:
            if isinstance(event, Switched):
                switched = True
            elif isinstance(event, Delta):
                pause = pause or (time.monotonic() - at if switched else 0.0)
                tokens += event.tokens
                if not at and tokens >= LONG // 2:
                    busy = await find()
                    at = _Killed.at = time.monotonic()
                    busy.kill()
            elif isinstance(event, Finished) and pause:
                return pause, event.timings.queue + event.timings.prefill
    raise AssertionError("the answer was never lost")


@contextlib.asynccontextmanager
async def _engine(port, folder):
    path = Path(folder) / f"inference-{port}.yaml"
    store = str(data_directory() / "models")
    path.write_text(json.dumps({"inference": {"port": port, "store": store}}))
    command = [sys.executable, "-m", "llmrouter.inference", "--config", str(path)]
    async with program(*command, environment={"LLMROUTER_ENV": "production"}) as process:
        await wait_until_ready(port)
        yield Upstream(f"127.0.0.1:{port}", process)


async def _really_killed(kills):
    """Kill one of two services of the demo model, each time anew.

    Return the pauses, and what of them was spent reading prompt and answer so far.
    """
    options = {"model": REAL_MODEL, "temperature": 0.0, "max_tokens": LONG, "min_tokens": LONG}
    pauses, reading = [], []
    for number in track(range(kills), "killing engines", console=Console(stderr=True)):
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            engines = [
                await stack.enter_async_context(_engine(port, folder)) for port in free_ports(2)
            ]
            address = await stack.enter_async_context(suite_before(*engines))
            client = await stack.enter_async_context(AsyncClient(address, retries=0))
            prompt, find = f"Write a story about {number} ships.", partial(_busy, engines)
            paused, read = await _pause(client, prompt, find, **options)
            pauses.append(paused)
            reading.append(read)
    return pauses, reading


async def _busy(engines):
    """Return the service that generates now."""
    for one in engines:
        async with aio.insecure_channel(one.address) as channel:
            listed = await ModelServiceStub(channel).List(model_pb2.ModelServiceListRequest())
        if any(model.statistics.running for model in listed.models):
            return one
    raise AssertionError("nobody generates")
