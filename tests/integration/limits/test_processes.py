"""Limits over several gateway processes on one Redis; one is killed while it holds reservations."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys

from redis import Redis

from llmrouter.common.redis_server import RedisSettings
from llmrouter.gateway.limits.redis_store import RedisStore

LIMIT = 4_000
LIFE = 1_000


def callers(server, rules, seconds, place, wait=0.02):
    told = {
        "address": server.address, "rules": rules, "seconds": seconds, "callers": 5,
        "life": LIFE, "wait": wait,
    }  # fmt: skip
    program = "tests.benchmarks.limits_callers"
    command = [sys.executable, "-m", program, json.dumps(told), str(place)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def counted(server, name):
    """Return the fields of the only counter whose name begins so; zeros while there is none."""
    with contextlib.closing(Redis(host="127.0.0.1", port=server.port, protocol=2)) as client:
        for key in client.keys(f"*counter:{name}*"):
            found = {field.decode(): int(value) for field, value in client.hgetall(key).items()}
            return {"s": 0, "h": 0} | found
    return {"s": 0, "h": 0}


async def test_several_processes_use_a_quota_to_the_token(redis_server):
    rules = [{"name": "quota", "tokens_per_day": LIMIT}]
    running = [callers(redis_server, rules, 3, place) for place in range(3)]
    outputs = await asyncio.gather(*(asyncio.to_thread(one.communicate) for one in running))
    used = sum(json.loads(output)["tokens"] for output, _ in outputs)
    assert LIMIT - 100 < used <= LIMIT, "100 is the most that one request may need"
    found = counted(redis_server, "quota")
    assert (found["s"], found["h"]) == (used, 0)


async def test_what_a_killed_process_had_reserved_is_free_again(redis_server):
    rules = [{"name": "quota", "tokens_per_month": 10**9, "concurrent_streams": 1000}]
    doomed = callers(redis_server, rules, 600, 0, wait=600)

    async def held():
        return counted(redis_server, "quota\x1ftokens")["h"]

    while await held() < 500:  # noqa: ASYNC110 - a server tells nothing by itself
        await asyncio.sleep(0.02)
    doomed.send_signal(signal.SIGKILL)
    await asyncio.to_thread(doomed.wait)
    doomed.stdout.close()
    assert await held() == 500, "it died between reserving and settling"
    other = RedisStore(RedisSettings(address=redis_server.address), [].append, 0.1, LIFE)
    await other.start()
    while await held():  # noqa: ASYNC110 - likewise
        await asyncio.sleep(0.02)
    await other.close()
    assert counted(redis_server, "quota\x1ftokens")["s"] == 0
    with contextlib.closing(Redis(host="127.0.0.1", port=redis_server.port, protocol=2)) as client:
        assert client.keys("*counter:quota\x1fconcurrent*") == []
