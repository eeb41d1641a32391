"""What a real cluster takes: the law of its engines, and loads that the simulation is held to.

The engines only sleep. What is around them - the client, the gateway, the selector - computes, and
goes before whatever else the machine does: in the simulation it has a machine to itself.
"""

import asyncio
import contextlib
import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil
from tests.benchmarks.scale_world import Law
from tests.support.cluster import Cluster, Shape
from tests.support.paced.llmrouter_paced import Pace

SLOTS = 4
_PACE = Pace(prefill=0.0002, step=0.02, row=0.002, tokens_at_once=4)
_PATIENCE = 120.0
_REPEATS = 9
_SHORT, _LONG = 4, 64
_BEFORE_OTHERS = -15
_numbers = itertools.count()


@contextlib.contextmanager
def before_others():
    """Let this process and those it starts compute before others; yields why not, where it may not.

    What a cluster takes is reported; a machine that others keep busy loses no more by it.
    """
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _BEFORE_OTHERS)
    except PermissionError:
        yield "this process may not go before others; what they do falls on the measured times"
        return
    try:
        yield ""
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, usual)


async def measured(engines, loads, tell):
    """Start a cluster of so many engines; return its law, and how each load fared.

    The loads come with the processors that each took, all of the cluster's processes and this one.

    Args:
        engines: The counts of engines to try, in order.
        loads: Makes the loads of a count from the law: jobs by name.
        tell: Told of the progress.
    """
    found, taken = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        shape = Shape(engines=max(engines), slots=SLOTS, pace=_PACE)
        async with Cluster(shape, Path(folder)) as cluster, cluster.client() as client:
            for member in cluster.all("inference")[1:]:
                await member.stop()
            await cluster.knows_engines(1)
            law = await _law(client)
            tell(f"measured: {law}")
            for count in engines:
                await _grow(cluster, count)
                for name, jobs in loads(law, count).items():
                    tell(f"{count} engines, {name}: {len(jobs)} answers")
                    began, before = time.monotonic(), _processor_seconds()
                    await _played(client, jobs)
                    lasted = time.monotonic() - began
                    taken[count, name] = (_processor_seconds() - before) / lasted
                    found[count, name] = jobs
    return law, found, taken


def _processor_seconds():
    """Return what this process and those it started have computed so far."""
    here = psutil.Process()
    times = [one.cpu_times() for one in (here, *here.children(recursive=True))]
    return sum(one.user + one.system for one in times)


async def _grow(cluster, engines):
    """Start engines until there are so many."""
    for member in cluster.all("inference")[:engines]:
        if not member.runs:
            member.start()
            await member.ready()
    await cluster.knows_engines(engines)


async def _law(client):
    """Return the times of one engine that is asked nothing else."""
    short = await _lone(client, 8, _SHORT)
    step = (await _lone(client, 8, _LONG) - short) / (_LONG - _SHORT)
    prefill = (await _lone(client, 1000, _SHORT) - short) / 992
    beside = await _together(client, _LONG) - await _together(client, _SHORT)
    row = (beside / (_LONG - _SHORT) - step) / (SLOTS - 1)
    return Law(short - _SHORT * step - 8 * prefill, prefill, step, row, SLOTS)


async def _lone(client, prompt, output):
    """Return the usual seconds of one answer alone."""
    return statistics.median([await _seconds(client, prompt, output) for _ in range(_REPEATS)])


async def _together(client, output):
    """Return the usual seconds of answers that fill all slots."""
    found = []
    for _ in range(_REPEATS // 3):
        asked = (_seconds(client, 8, output) for _ in range(SLOTS))
        found += await asyncio.gather(*asked)
    return statistics.median(found)


async def _seconds(client, prompt, output):
    began, asked = time.monotonic(), f"{next(_numbers)} ".ljust(prompt, "x")
    await client.generate(
        asked, max_tokens=output, min_tokens=output, cache=False, timeout=_PATIENCE
    )
    return time.monotonic() - began


async def _played(client, jobs):
    """Ask for every job at its time; the jobs know afterwards when they ended."""
    began = time.monotonic()

    async def play(number, job):
        await asyncio.sleep(max(0.0, job.at - (time.monotonic() - began)))
        asked = f"{number} ".ljust(job.prompt, "x")
        await client.generate(asked, max_tokens=job.output, cache=False, timeout=_PATIENCE)
        job.ended = time.monotonic() - began

    await asyncio.gather(*(play(number, job) for number, job in enumerate(jobs)))
