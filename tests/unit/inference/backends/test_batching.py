"""The loop between the compiled batcher, a thread that computes, and the event loop."""

import asyncio
import threading
from dataclasses import replace

import pytest

from llmrouter import _native
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Priority
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.batching import BatchLoop, Wishes, batcher_for
from llmrouter.inference.backends.native_events import reason_of

OPTIONS = BackendOptions(batch_size=4, batch_window_seconds=0, batch_padding=0.2, max_waiting=4)
STOP = _native.FinishReason.STOP


class Around:
    """A loop with a fake engine; what it computes and what ends is noted."""

    def __init__(self, options=OPTIONS):
        self.batches, self.threads = [], set()
        self.failure = None
        self.gate = threading.Event()
        self.gate.set()
        self.leave = frozenset()
        self.loop = BatchLoop(batcher_for(options, 1000), self.run, options.batch_size)

    def run(self, jobs):
        self.threads.add(threading.current_thread())
        self.gate.wait(20)
        self.batches.append([job.payload for job in jobs])
        if self.failure:
            raise self.failure
        for job in jobs:
            if job.payload not in self.leave:
                self.loop.batcher.publish(job.id, job.payload, 1)
                self.loop.batcher.finish(job.id, STOP, completion_tokens=1)

    def submit(self, payload, **wishes):
        """Queue a request; the future gives its events."""
        done, events = asyncio.get_running_loop().create_future(), []

        def sink(event):
            events.append(event)
            if not isinstance(event, _native.TextDelta):
                done.set_result(events)

        done.request = self.loop.submit(payload, Wishes(len(payload), **wishes), sink)
        return done


@pytest.fixture
async def around():
    made = Around()
    yield made
    made.gate.set()
    await made.loop.close()
    await made.loop.close()


async def test_every_request_gets_its_text_and_one_end_computed_off_the_event_loop(around):
    results = await asyncio.gather(*(around.submit(text) for text in ("ab", "cd", "ef")))
    assert [events[0].text for events in results] == ["ab", "cd", "ef"]
    assert all(isinstance(events[-1], _native.Finished) for events in results)
    assert threading.main_thread() not in around.threads


async def test_a_batch_that_raises_fails_its_requests_and_the_next_one_runs(around):
    around.failure = ValueError("out of paper")
    (end,) = await around.submit("ab")
    assert (end.code, "out of paper" in end.message) == (
        _native.ErrorCode.GENERATION_FAILED, True,
    )  # fmt: skip
    around.failure = None
    assert isinstance((await around.submit("ab"))[-1], _native.Finished)


async def test_a_request_that_the_engine_forgets_fails_rather_than_waits_for_ever(around):
    around.leave = {"ab"}
    forgotten, kept = await asyncio.gather(around.submit("ab"), around.submit("cd"))
    assert isinstance(forgotten[-1], _native.Failed)
    assert isinstance(kept[-1], _native.Finished)


async def test_a_full_queue_says_how_long_to_wait(around):
    around.gate.clear()
    slow = around.submit("ab")
    await asyncio.sleep(0.05)
    around.gate.set()
    await slow
    around.gate.clear()
    running = around.submit("ab")
    while not around.loop.statistics().running:  # noqa: ASYNC110 - the thread tells nobody
        await asyncio.sleep(0.01)
    waiting = [around.submit("ab") for _ in range(4)]
    with pytest.raises(RouterError) as refused:
        around.submit("ab")
    assert refused.value.reason is Reason.QUEUE_FULL
    assert refused.value.retry_after > 0
    assert float(refused.value.metadata["estimated_wait_seconds"]) > 0
    around.gate.set()
    await asyncio.gather(running, *waiting)


async def test_a_higher_class_overtakes_who_waits(around):
    around.gate.clear()
    first = around.submit("a" * 100)  # alone: no other is as long
    while not around.loop.statistics().running:  # noqa: ASYNC110 - the thread tells nobody
        await asyncio.sleep(0.01)
    others = [
        around.submit("b", priority=Priority.LOW),
        around.submit("c" * 9, priority=Priority.HIGH),
    ]
    around.gate.set()
    await asyncio.gather(first, *others)
    assert [batch[0][0] for batch in around.batches] == ["a", "c", "b"]


async def test_a_cancelled_request_ends_at_once_even_while_it_is_computed(around):
    around.gate.clear()
    request = around.submit("ab")
    while not around.loop.statistics().running:  # noqa: ASYNC110 - the thread tells nobody
        await asyncio.sleep(0.01)
    around.loop.batcher.cancel(request.request)
    (end,) = await request
    assert end.reason is _native.FinishReason.CANCELLED


async def test_closing_ends_what_waits_and_refuses_what_comes():
    around = Around(replace(OPTIONS, batch_window_seconds=60))
    waiting = around.submit("ab")
    await around.loop.close()
    assert (await waiting)[-1].reason is _native.FinishReason.CANCELLED
    with pytest.raises(RouterError) as refused:
        around.submit("ab")
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


async def test_requests_of_another_kind_are_computed_apart(around):
    around.gate.clear()
    first = around.submit("a" * 100)
    while not around.loop.statistics().running:  # noqa: ASYNC110 - the thread tells nobody
        await asyncio.sleep(0.01)
    others = [around.submit(text, kind=hash(text[0])) for text in ("b1", "c1", "b2")]
    around.gate.set()
    await asyncio.gather(first, *others)
    assert around.batches[1:] == [["b1", "b2"], ["c1"]]


async def test_room_is_asked_for_together(around):
    around.gate.clear()
    running = around.submit("ab")
    while not around.loop.statistics().running:  # noqa: ASYNC110 - the thread tells nobody
        await asyncio.sleep(0.01)
    waiting = around.submit("ab")
    around.loop.require_room(3)
    with pytest.raises(RouterError) as refused:
        around.loop.require_room(4)
    assert refused.value.reason is Reason.QUEUE_FULL
    assert refused.value.retry_after > 0
    around.gate.set()
    await asyncio.gather(running, waiting)


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_times_that_are_no_number_of_seconds_are_refused(time):
    with pytest.raises(RouterError, match="window must be a finite number"):
        batcher_for(replace(OPTIONS, batch_window_seconds=time), 1000)
    with pytest.raises(RouterError, match="ageing"):
        batcher_for(replace(OPTIONS, ageing_seconds=time), 1000)
    with pytest.raises(_native.EngineError, match="timeout"):
        batcher_for(OPTIONS, 1000).submit(1, timeout=time)


def test_every_error_of_the_engine_has_a_reason():
    assert all(isinstance(reason_of(code), Reason) for code in _native.ErrorCode)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_padding": 1.0}, {"max_waiting": 0}])
def test_options_out_of_bounds_are_refused(wrong):
    with pytest.raises(RouterError) as refused:
        batcher_for(replace(OPTIONS, **wrong), 1000)
    assert refused.value.reason is Reason.INVALID_ARGUMENT
