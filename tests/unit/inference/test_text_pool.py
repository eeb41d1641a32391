"""Work on texts: bounded, dropped when nobody waits for it any more."""

import asyncio
import threading

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.text_pool import TextPool


async def test_work_beyond_the_bound_is_refused_until_some_is_done():
    pool, gate = TextPool(threads=1, max_waiting=2), threading.Event()
    try:
        held = [asyncio.ensure_future(pool.run(gate.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(RouterError) as refused:
            await pool.run(len, "text")
        assert (refused.value.reason, refused.value.retry_after) == (Reason.QUEUE_FULL, 1.0)
        gate.set()
        assert all(await asyncio.gather(*held))
        assert await pool.run(len, "text") == 4
    finally:
        gate.set()
        pool.close()


async def test_what_waits_is_dropped_with_its_caller_and_frees_its_place():
    pool, gate, done = TextPool(threads=1, max_waiting=1), threading.Event(), []
    try:
        running = asyncio.ensure_future(pool.run(gate.wait, 10))
        waiting = asyncio.ensure_future(pool.run(done.append, 1))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0.05)
        other = asyncio.ensure_future(pool.run(done.append, 2))
        gate.set()
        await asyncio.gather(running, other)
        assert done == [2]
    finally:
        gate.set()
        pool.close()


async def test_what_goes_wrong_is_raised_to_the_caller():
    pool = TextPool(threads=1, max_waiting=1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)
    pool.close()
