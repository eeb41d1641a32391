"""Killed in the middle of writing, a store has every answer that it acknowledged, and none torn."""

import asyncio
import random
import signal
import sys

import pytest
from tests.integration.cache.killed_writer import payload, place

from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers, steady_clock


async def write_and_kill(folder, first, seconds):
    """Let a program write for a while, kill it and return the numbers it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.cache.killed_writer", str(folder), str(first),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    told = [await asyncio.wait_for(process.stdout.readline(), 60)]
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    rest, _ = await process.communicate()
    lines = [*told, *rest.splitlines(keepends=True)]
    return [int(line) for line in lines if line.endswith(b"\n")]


async def check(folder, acknowledged):
    settings = CacheSettings(memory_max_bytes=0, disk_max_bytes=1 << 30)
    tiers, _, _ = await open_tiers(settings, folder, steady_clock())
    try:
        for number in acknowledged:
            found = await tiers.lookup(place(number))
            assert found is not None, f"answer {number} was acknowledged and is gone"
            assert found.payload == payload(number)
    finally:
        await tiers.close()


@pytest.mark.parametrize(
    "times", [2, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
async def test_every_acknowledged_answer_survives_a_kill_and_is_whole(tmp_path, times, caplog):
    folder, acknowledged = tmp_path / "answers", []
    chance = random.Random(times)  # noqa: S311 - when to kill
    for _ in range(times):
        first = max(acknowledged, default=0) + 1_000
        acknowledged += await write_and_kill(folder, first, chance.uniform(0.0, 0.25))
        await check(folder, acknowledged)
    assert len(acknowledged) > 8 * times
    assert not list(tmp_path.glob("*.corrupt-*"))
    assert not caplog.records
