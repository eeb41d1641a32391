"""A process records where its threads and its engines spend their time, within bounds."""

import asyncio
import json
import threading

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.profile_servicer import ProfileServicer, decode_wish
from llmrouter.common.profiling import formats
from llmrouter.common.profiling.formats import Step, chrome_trace, speedscope
from llmrouter.common.profiling.profiler import Profiler
from llmrouter.common.profiling.stacks import Stacks, sample
from llmrouter.common.wire import duration
from llmrouter.v1 import profile_pb2 as pb

STEP = Step(10.0, 10.001, 10.021, 10.022, 3, 0, 1)


class Engines:
    def __init__(self, steps):
        self.steps, self.log = steps, []

    def begin(self):
        self.log.append("begin")

    def take(self):
        self.log.append("take")
        return self.steps


@pytest.fixture
def busy():
    """A thread of a known name in a function of a known name."""
    done = threading.Event()

    def wait_for_the_test():
        done.wait(30)

    thread = threading.Thread(target=wait_for_the_test, name="busy")
    thread.start()
    yield
    done.set()
    thread.join()


def functions(stacks, thread):
    return {
        frame[0].rpartition(".")[2]
        for name, stack in stacks.seconds
        if name == thread
        for frame in stack
    }


def test_samples_name_threads_and_what_they_do_outermost_first(busy):
    stacks = sample(0.1, 100, threading.Event())
    assert "wait_for_the_test" in functions(stacks, "busy")
    found = {stack: told for (name, stack), told in stacks.seconds.items() if name == "busy"}
    stack = max(found, key=found.__getitem__)
    names = [frame[0].rpartition(".")[2] for frame in stack]
    assert names.index("run") < names.index("wait_for_the_test") < names.index("wait")
    assert stacks.samples > 1
    assert not stacks.truncated


def test_a_recording_that_is_stopped_ends_at_once():
    stopped = threading.Event()
    stopped.set()
    assert sample(3600, 100, stopped).samples == 0


def test_more_stacks_than_the_bound_are_left_out_and_told():
    stacks = Stacks()
    for number in range(10_001):
        stacks.add("t", (("f", "file", number),), 0.01)
    assert (len(stacks.seconds), stacks.truncated) == (10_000, True)
    stacks.add("t", (("f", "file", 0),), 0.01)
    assert stacks.seconds["t", (("f", "file", 0),)] == 0.02


def test_deep_stacks_are_cut_at_their_outer_end_and_told():
    def deeper(left):
        return sample_self() if left == 0 else deeper(left - 1)

    def sample_self():
        found = []
        thread = threading.Thread(target=lambda: found.append(sample(0.05, 50, threading.Event())))
        thread.start()
        thread.join()
        return found[0]

    stacks = deeper(200)
    assert stacks.truncated
    assert max(len(stack) for _, stack in stacks.seconds) == 128
    assert "deeper" in functions(stacks, "MainThread")


def test_a_speedscope_file_has_a_profile_per_thread_whose_frames_are_shared():
    stacks = Stacks()
    inner, outer = ("inner", "a.py", 3), ("outer", "a.py", 1)
    stacks.add("one", (outer, inner), 0.2)
    stacks.add("one", (outer,), 0.1)
    stacks.add("two", (inner,), 0.4)
    text, cut = speedscope("gateway", stacks)
    told = json.loads(text)
    assert not cut
    assert told["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames = [one["name"] for one in told["shared"]["frames"]]
    first, second = told["profiles"]
    assert (first["name"], second["name"]) == ("one", "two")
    named = [[frames[index] for index in stack] for stack in first["samples"]]
    assert dict(zip(map(tuple, named), first["weights"], strict=True)) == {
        ("outer", "inner"): 0.2,
        ("outer",): 0.1,
    }
    assert first["endValue"] == pytest.approx(0.3)


def test_a_chrome_trace_has_a_row_per_engine_and_the_parts_of_each_step():
    text, cut = chrome_trace("inference", {"m@v": [STEP, STEP]}, 9.0)
    events = json.loads(text)["traceEvents"]
    assert not cut
    assert [one["args"]["name"] for one in events if one["ph"] == "M"] == ["inference", "m@v"]
    whole, plan, run, deliver = [one for one in events if one["ph"] == "X"][:4]
    assert whole["name"] == "step: decode"
    assert whole["args"] == {"decoding rows": 3, "prompt tokens": 0, "drafted tokens": 1}
    assert (whole["ts"], whole["dur"]) == (1e6, 22e3)
    assert [one["dur"] for one in (plan, run, deliver)] == [1e3, 20e3, 1e3]
    assert run["ts"] == plan["ts"] + plan["dur"]


@pytest.mark.parametrize(
    ("decoding", "prompt", "kind"), [(1, 0, "decode"), (0, 9, "prefill"), (1, 9, "mixed")]
)
def test_a_step_says_what_kind_it_was(decoding, prompt, kind):
    step = Step(0, 0, 0, 0, decoding, prompt, 0)
    text, _ = chrome_trace("inference", {"m": [step]}, 0)
    assert f"step: {kind}".encode() in text


def test_files_keep_their_bound_by_leaving_out_what_weighs_least(monkeypatch):
    monkeypatch.setattr(formats, "MAX_BYTES", 4096)
    stacks = Stacks()
    for number in range(1000):
        stacks.add("t", ((f"function {number}", "file", 1),), number)
    text, cut = speedscope("gateway", stacks)
    assert cut
    assert len(text) <= 4096
    assert b"function 999" in text
    text, cut = chrome_trace("inference", {"m": [STEP] * 1000}, 0)
    assert cut
    assert len(text) <= 4096


async def test_a_profile_has_the_threads_and_the_steps_of_its_time():
    engines = Engines({"m@v": [STEP]})
    profile = await Profiler("inference", engines).record(0.1, 50)
    assert engines.log == ["begin", "take"]
    assert (profile.service, profile.recorded_steps) == ("inference", 1)
    assert profile.samples > 0
    assert json.loads(profile.stacks)["name"] == "inference"
    assert json.loads(profile.steps)["traceEvents"]
    assert (await Profiler("cache").record(0.1, 50)).steps == b""


async def test_one_process_is_recorded_once_at_a_time_and_again_when_the_caller_left():
    recording = asyncio.create_task(Profiler("gateway").record(60, 10))
    await asyncio.sleep(0.01)
    with pytest.raises(RouterError) as refused:
        await Profiler("cache").record(1, 10)
    assert refused.value.reason is Reason.QUEUE_FULL
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    assert (await Profiler("cache").record(0.1, 10)).service == "cache"


async def test_a_caller_who_leaves_ends_the_sampling(monkeypatch):
    begun = []

    def endless(seconds, per_second, stopped):
        begun.append(stopped)
        stopped.wait(30)
        return Stacks()

    monkeypatch.setattr("llmrouter.common.profiling.profiler.sample", endless)
    recording = asyncio.create_task(Profiler("gateway").record(60, 10))
    async with asyncio.timeout(10):
        while not begun:  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.01)
    recording.cancel()
    await asyncio.gather(recording, return_exceptions=True)
    assert begun[0].is_set()


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (pb.ProfileRequest(duration=duration(61)), "duration"),
        (pb.ProfileRequest(duration=duration(0)), "duration"),
        (pb.ProfileRequest(samples_per_second=251), "samples_per_second"),
    ],
)
def test_wishes_beyond_the_bounds_are_refused_by_name(wish, field):
    with pytest.raises(RouterError) as refused:
        decode_wish(wish)
    assert [one.field for one in refused.value.violations] == [field]


def test_a_wish_that_says_nothing_is_five_seconds_of_a_hundred_samples():
    assert decode_wish(pb.ProfileRequest()) == (5.0, 100)


async def test_a_service_itself_passes_no_wish_on():
    with pytest.raises(RouterError) as refused:
        await ProfileServicer(Profiler("cache")).Profile(pb.ProfileRequest(service="gateway"), None)
    assert refused.value.reason is Reason.INVALID_ARGUMENT
