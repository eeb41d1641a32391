"""Faults made in turn in a cluster that is asked all the while."""

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.cluster_load import Tally, ask_steadily, stream_steadily
from tests.support.cluster import Cluster, Shape
from tests.support.paced.llmrouter_paced import Pace

SHAPE = {"gateways": 2, "selectors": 2, "caches": 2, "engines": 3, "redis": True}
SETTINGS = {"selector": {"breaker": {"open_seconds": 5}}}
DOWN_SECONDS, SETTLE_SECONDS, REDIS_SECONDS = 2.0, 3.0, 30.0
_STREAMS, _STREAM_TOKENS = 8, 300


@dataclass
class Drill:
    """What a drill found."""

    requests: Tally = field(default_factory=Tally)
    streams: Tally = field(default_factory=Tally)
    killed: dict[str, list[float]] = field(default_factory=dict)
    """When members of a role were killed."""
    lasted: float = 0.0

    def lost_streams(self):
        """Return how many broke off, and how many of those no gateway that was killed had."""
        gateways = self.killed.get("gateway", [])
        others = [
            (began, ended)
            for began, ended in self.streams.broken
            if not any(began <= at <= ended for at in gateways)
        ]
        return len(self.streams.broken), len(others)


def kill_in_turn(requests, rate, redis_seconds, tell):
    """Kill and restart every member of a cluster while it is asked; return the drill."""
    pace = Pace(step=0.008, tokens_at_once=4)
    return asyncio.run(_under_load(requests, rate, pace, tell, _killing(redis_seconds)))


def restart_in_turn(streams, tell):
    """Restart every member as an operator would under so many streams; return their tally."""
    return asyncio.run(_restarting(streams, tell))


async def _under_load(requests, rate, pace, tell, drilling):
    drill, over = Drill(), asyncio.Event()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        shape = Shape(**SHAPE, pace=pace, settings=SETTINGS)
        async with (
            Cluster(shape, Path(folder)) as cluster,
            cluster.client(retries=4) as client,
            asyncio.TaskGroup() as all_of_it,
        ):
            tell(f"a cluster of {len(cluster.members)} hosts answers")
            for _ in range(_STREAMS):
                streaming = stream_steadily(client, _STREAM_TOKENS, over, drill.streams)
                all_of_it.create_task(streaming)
            asking = ask_steadily(client, rate, requests, over, drill.requests)
            asked = all_of_it.create_task(asking)
            await drilling(cluster, drill, tell)
            over.set()
            tell(f"{drill.requests.asked} requests asked; waiting for {requests}")
            await asked
    drill.lasted = time.monotonic() - began
    return drill


def _killing(redis_seconds):
    async def drilling(cluster, drill, tell):
        await asyncio.sleep(SETTLE_SECONDS)
        for member in cluster.members.values():
            down = redis_seconds if member.role == "redis" else DOWN_SECONDS
            tell(f"{member.name} is killed for {down:g} s ({_state(drill)})")
            drill.killed.setdefault(member.role, []).append(time.monotonic())
            member.kill()
            await asyncio.sleep(down)
            member.start()
            await member.ready()
            await asyncio.sleep(SETTLE_SECONDS)

    return drilling


async def _restarting(streams, tell):
    tally, over = Tally(), asyncio.Event()
    pace = Pace(step=0.02, tokens_at_once=10)
    with tempfile.TemporaryDirectory() as folder:
        shape = Shape(**SHAPE, slots=2 * streams, pace=pace)
        async with (
            Cluster(shape, Path(folder)) as cluster,
            cluster.client(retries=4) as client,
            asyncio.TaskGroup() as all_of_it,
        ):
            for _ in range(streams):
                all_of_it.create_task(stream_steadily(client, 150, over, tally))
            await asyncio.sleep(SETTLE_SECONDS)
            for member in cluster.members.values():
                tell(f"{member.name} is restarted ({tally.answered} streams so far)")
                await member.stop()
                member.start()
                await member.ready()
                await asyncio.sleep(SETTLE_SECONDS)
            over.set()
    return tally


def _state(drill):
    requests, streams = drill.requests, drill.streams
    failed = len(requests.broken), len(streams.broken)
    return f"{requests.answered} answers, {failed[0]} failures, {failed[1]} streams broken"
