"""One gatherer serves all who watch, and rests while nobody does."""

import asyncio
import contextvars
import itertools

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.live.feed import LiveFeed


class Gatherer:
    def __init__(self, error=None):
        self.frames, self.gathered, self.error = itertools.count(1), 0, error

    async def __call__(self):
        self.gathered += 1
        if self.error is not None:
            raise self.error
        return str(next(self.frames)).encode()


def feed(gather, most=8, interval=0.001):
    return LiveFeed(gather, interval, most)


async def test_all_watchers_share_the_frames_of_one_gatherer():
    gather = Gatherer()
    shared = feed(gather, interval=3600)
    watching = [shared.frames() for _ in range(5)]
    assert {await anext(frames) for frames in watching} == {b"1"}
    assert (gather.gathered, shared.watchers) == (1, 5)


async def test_nobody_gathers_once_the_last_watcher_has_left():
    gather = Gatherer()
    shared = feed(gather)
    assert gather.gathered == 0
    first, second = shared.frames(), shared.frames()
    await anext(first)
    await anext(second)
    await first.aclose()
    before = gather.gathered
    await anext(second)
    await anext(second)
    assert gather.gathered > before
    await second.aclose()
    assert shared.watchers == 0
    rests = gather.gathered
    await asyncio.sleep(0.02)
    assert gather.gathered == rests


async def test_who_comes_back_after_everybody_left_gets_a_new_frame():
    shared = feed(Gatherer(), interval=3600)
    for expected in (b"1", b"2"):
        frames = shared.frames()
        assert await anext(frames) == expected
        await frames.aclose()


async def test_a_slow_watcher_misses_frames_and_gets_the_newest():
    shared = feed(Gatherer())
    slow, fast = shared.frames(), shared.frames()
    assert await anext(slow) == b"1"
    for _ in range(5):
        latest = await anext(fast)
    assert int(await anext(slow)) >= int(latest) > 2


async def test_more_watchers_than_the_bound_are_refused_until_one_leaves():
    shared = feed(Gatherer(), most=1)
    held = shared.frames()
    await anext(held)
    with pytest.raises(RouterError) as refused:
        await anext(shared.frames())
    assert refused.value.reason is Reason.QUEUE_FULL
    assert "gateway.page.watchers" in refused.value.message
    await held.aclose()
    assert await anext(shared.frames())


async def test_stopping_ends_the_streams_and_refuses_new_ones():
    shared = feed(Gatherer(), interval=3600)
    frames = shared.frames()
    await anext(frames)
    shared.stop()
    with pytest.raises(StopAsyncIteration):
        await anext(frames)
    with pytest.raises(RouterError) as refused:
        await anext(shared.frames())
    assert refused.value.reason is Reason.DRAINING


async def test_what_a_gatherer_raises_ends_the_stream_and_the_next_watcher_starts_anew():
    gather = Gatherer(RuntimeError("broken"))
    shared = feed(gather)
    with pytest.raises(RuntimeError, match="broken"):
        await anext(shared.frames())
    gather.error = None
    assert await anext(shared.frames()) == b"1"


async def test_frames_are_gathered_in_nobodys_name():
    whose = contextvars.ContextVar("whose", default="nobody")

    async def gather():
        return whose.get().encode()

    shared = feed(gather)
    whose.set("the first watcher")
    assert await anext(shared.frames()) == b"nobody"
