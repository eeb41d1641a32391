"""The backend as the inference service uses it: asyncio in front, the engine behind."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FinishReason, SamplingOptions
from llmrouter.inference.backends import onnxruntime as backend_module
from llmrouter.inference.backends.base import (
    BackendEvent,
    BackendFinished,
    BackendOptions,
    BackendRequest,
    TokenDelta,
)
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend

HELLO = tuple(b"hello")
MANY = 16_000
"""So many tokens that the engine is not done with them before a test is told of the first."""


def ask(
    prompt: Sequence[int] = HELLO,
    *,
    max_tokens: int = 12,
    temperature: float = 0.0,
    seed: int | None = None,
    stop: tuple[str, ...] = (),
) -> BackendRequest:
    sampling = SamplingOptions(temperature=temperature, max_tokens=max_tokens, seed=seed, stop=stop)
    return BackendRequest(prompt, sampling)


async def collect(backend: OnnxRuntimeBackend, request: BackendRequest) -> list[BackendEvent]:
    return [event async for event in backend.generate(request)]


async def text_of(backend: OnnxRuntimeBackend, request: BackendRequest) -> str:
    events = await collect(backend, request)
    return "".join(event.text for event in events if isinstance(event, TokenDelta))


async def idle(backend: OnnxRuntimeBackend) -> None:
    """Wait until nothing runs or waits."""
    while (now := backend.statistics()).running or now.waiting:  # noqa: ASYNC110 (no event tells)
        await asyncio.sleep(0.001)


async def read_on(events: AsyncIterator[BackendEvent], *, at_most: int) -> None:
    """Read the rest; no event may hold more than `at_most` bytes."""
    async for event in events:
        assert isinstance(event, TokenDelta)
        assert len(event.text.encode()) <= at_most


@pytest.fixture(scope="module")
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with room for `MANY` tokens."""
    folder = tmp_path_factory.mktemp("models") / "long"
    return write_tiny_folder(folder, TinyShape(context=16_384))


@pytest.fixture
async def backend(long_folder: Path) -> AsyncIterator[OnnxRuntimeBackend]:
    options = BackendOptions(threads=2, slots=4, max_waiting=4, prefill_chunk=16)
    loaded = await OnnxRuntimeBackend.load(long_folder, options)
    yield loaded
    await loaded.close()


async def test_a_stream_is_text_and_then_its_end(backend: OnnxRuntimeBackend) -> None:
    events = await collect(backend, ask())
    last = events[-1]
    assert isinstance(last, BackendFinished)
    assert all(isinstance(event, TokenDelta) for event in events[:-1])
    assert last.prompt_tokens == len(HELLO)
    assert 1 <= last.completion_tokens <= 12
    assert last.reason in {FinishReason.STOP, FinishReason.LENGTH}
    assert last.time_to_first_token > 0


async def test_streams_in_parallel_say_what_each_says_alone(backend: OnnxRuntimeBackend) -> None:
    requests = [ask([i, i + 1, i + 2], temperature=1.0, seed=i) for i in range(8)]
    alone = [await text_of(backend, request) for request in requests]
    together = await asyncio.gather(*(text_of(backend, request) for request in requests))
    assert together == alone
    assert len(set(alone)) > 1


async def test_without_a_seed_answers_differ(backend: OnnxRuntimeBackend) -> None:
    answers = {await text_of(backend, ask(temperature=2.0)) for _ in range(5)}
    assert len(answers) > 1


async def test_a_stop_string_is_named_and_not_shown(backend: OnnxRuntimeBackend) -> None:
    whole = await text_of(backend, ask(max_tokens=20))
    stop = whole[3:6]
    events = await collect(backend, ask(max_tokens=20, stop=(stop,)))
    last = events[-1]
    assert isinstance(last, BackendFinished)
    assert (last.reason, last.stop) == (FinishReason.STOP, stop)
    shown = "".join(event.text for event in events if isinstance(event, TokenDelta))
    assert shown == whole[: whole.index(stop)]


async def test_closing_the_iterator_cancels_in_the_engine(backend: OnnxRuntimeBackend) -> None:
    async with aclosing(backend.generate(ask(max_tokens=MANY))) as events:
        await anext(events)
    await idle(backend)
    assert backend.statistics().completion_tokens < MANY


async def test_cancelling_the_consuming_task_frees_the_slot(backend: OnnxRuntimeBackend) -> None:
    tasks = [asyncio.create_task(collect(backend, ask(max_tokens=MANY))) for _ in range(4)]
    while not backend.statistics().running:  # noqa: ASYNC110 (no event tells)
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await idle(backend)
    assert await text_of(backend, ask())


async def test_several_answers_end_each_and_the_first_is_the_only_one_of_one(
    backend: OnnxRuntimeBackend,
) -> None:
    one = ask(temperature=1.0, seed=3)
    alone = await text_of(backend, one)
    several = replace(one, sampling=replace(one.sampling, n=4, logprobs=True, top_logprobs=2))
    events = await collect(backend, several)
    texts = ["", "", "", ""]
    told = [0, 0, 0, 0]
    ends: list[BackendFinished] = []
    for event in events:
        if isinstance(event, TokenDelta):
            texts[event.choice] += event.text
            told[event.choice] += len(event.logprobs)
            assert all(len(each.top) == 2 for each in event.logprobs)
        else:
            ends.append(event)
    assert texts[0] == alone
    assert len(set(texts)) > 1
    assert sorted(end.choice for end in ends) == [0, 1, 2, 3]
    assert [told[end.choice] for end in ends] == [end.completion_tokens for end in ends]
    assert {end.prompt_tokens for end in ends} == {len(HELLO)}


@pytest.mark.parametrize(
    ("option", "field", "told"),
    [
        ({"n": 5}, "sampling.n", "is 5; it must be at most 4, the slots"),
        ({"logit_bias": ((999, 1.0),)}, "sampling.logit_bias[999]", "its tokens are 0 to 287"),
    ],
)
async def test_what_another_model_may_do_is_refused_as_such_with_field_and_bound(
    backend: OnnxRuntimeBackend, option: dict[str, Any], field: str, told: str
) -> None:
    with pytest.raises(RouterError) as raised:
        await collect(backend, replace(ask(), sampling=replace(ask().sampling, **option)))
    assert raised.value.reason is Reason.UNSUPPORTED_OPTION
    [violation] = raised.value.violations
    assert violation.field == field
    assert told in violation.description
    assert str(raised.value) == f"{field} {violation.description}"


async def test_a_full_queue_says_when_to_come_again(long_folder: Path) -> None:
    options = BackendOptions(threads=2, slots=1, max_waiting=0)
    backend = await OnnxRuntimeBackend.load(long_folder, options)
    async with aclosing(backend.generate(ask(max_tokens=MANY))) as running:
        await anext(running)
        with pytest.raises(RouterError) as raised:
            await collect(backend, ask())
    await backend.close()
    assert raised.value.reason is Reason.QUEUE_FULL
    assert raised.value.retry_after is not None
    assert float(raised.value.metadata["estimated_wait_seconds"]) >= 0


@pytest.mark.parametrize(("share", "expected"), [(False, [0, 0, 64]), (True, [0, 64, 64])])
async def test_what_one_tenant_asked_another_reuses_only_where_all_share(
    tiny_folder: Path, share: bool, expected: list[int]
) -> None:
    options = BackendOptions(threads=2, share_prefixes=share)
    backend = await OnnxRuntimeBackend.load(tiny_folder, options)
    reused = []
    for tenant in ("a", "b", "a"):
        request = replace(ask([3] * 70), scope=tenant)
        *_, end = [event async for event in backend.generate(request)]
        assert isinstance(end, BackendFinished)
        reused.append(end.cached_prompt_tokens)
    await backend.close()
    assert reused == expected


async def test_a_request_that_is_late_ends_as_late(backend: OnnxRuntimeBackend) -> None:
    with pytest.raises(RouterError) as raised:
        await collect(backend, replace(ask(max_tokens=100), timeout=0.0))
    assert raised.value.reason is Reason.DEADLINE_EXCEEDED


async def test_a_prompt_beyond_the_context_names_both_numbers(backend: OnnxRuntimeBackend) -> None:
    with pytest.raises(RouterError) as raised:
        await collect(backend, ask([1] * 17_000))
    assert raised.value.reason is Reason.CONTEXT_TOO_LONG
    name = raised.value.metadata.pop("model")
    assert raised.value.metadata == {"prompt_tokens": "17000", "context": "16384"}
    assert f"17000 tokens, too many for the context of 16384 of {name};" in raised.value.message


async def test_an_empty_prompt_is_refused(backend: OnnxRuntimeBackend) -> None:
    with pytest.raises(RouterError, match="at least one token") as raised:
        await collect(backend, ask([]))
    assert raised.value.reason is Reason.INVALID_ARGUMENT


async def test_a_reader_who_stops_reading_gives_its_slot_up_and_misses_nothing(
    long_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "_BUFFER_BYTES", 4096)
    backend = await OnnxRuntimeBackend.load(long_folder, BackendOptions(threads=2, slots=1))
    request = ask(max_tokens=12_000, temperature=1.0, seed=1)
    request = replace(request, sampling=replace(request.sampling, min_tokens=12_000))
    events = backend.generate(request)
    begin = await anext(events)
    await idle(backend)
    assert backend.statistics().completion_tokens < 12_000
    await collect(backend, ask())  # the one slot is free
    rest = [event async for event in events]
    last = rest[-1]
    assert isinstance(begin, TokenDelta)
    assert isinstance(last, BackendFinished)
    assert last.completion_tokens == 12_000
    read = [begin, *(event for event in rest if isinstance(event, TokenDelta))]
    assert sum(event.tokens for event in read) == 12_000
    unread = await text_of(backend, request)
    assert "".join(event.text for event in read) == unread
    await backend.close()


async def test_a_reader_of_several_answers_who_stops_reading_gives_their_slots_up(
    long_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "_BUFFER_BYTES", 4096)
    backend = await OnnxRuntimeBackend.load(long_folder, BackendOptions(threads=2, slots=2))
    sampling = SamplingOptions(n=2, temperature=1.0, seed=1, min_tokens=6_000, max_tokens=6_000)
    request = replace(ask(), sampling=sampling)
    events = backend.generate(request)
    read = [await anext(events)]
    await idle(backend)
    assert backend.statistics().held == 2
    await collect(backend, replace(request, sampling=replace(sampling, min_tokens=0, max_tokens=4)))
    read += [event async for event in events]
    unread = [event async for event in backend.generate(request)]
    for choice in range(2):
        assert said(read, choice) == said(unread, choice)
    assert backend.statistics().held == 0
    await backend.close()


def said(events: list[BackendEvent], choice: int) -> tuple[str, int]:
    deltas = [event for event in events if isinstance(event, TokenDelta) and event.choice == choice]
    return "".join(delta.text for delta in deltas), sum(delta.tokens for delta in deltas)


async def test_a_reader_who_stops_reading_is_ended_where_nobody_more_can_be_held(
    long_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "_BUFFER_BYTES", 16)
    options = BackendOptions(threads=2, slots=2, max_waiting=0)
    backend = await OnnxRuntimeBackend.load(long_folder, options)
    requests = [ask([i], max_tokens=6_000, temperature=1.0, seed=i) for i in range(1, 4)]
    requests = [
        replace(one, sampling=replace(one.sampling, n=2, min_tokens=6_000)) for one in requests
    ]
    reasons = []
    for request in requests:
        events = backend.generate(request)
        await anext(events)
        await idle(backend)
        await asyncio.sleep(0)
        with pytest.raises(RouterError) as raised:
            await read_on(events, at_most=2 * 6_000)
        reasons.append(raised.value.reason)
    assert reasons == [Reason.SLOW_READER] * 3
    await backend.close()


async def test_closing_ends_running_and_queued_streams_as_unavailable_and_may_be_repeated(
    long_folder: Path,
) -> None:
    backend = await OnnxRuntimeBackend.load(long_folder, BackendOptions(threads=2, slots=1))
    streams = [backend.generate(ask(max_tokens=MANY)) for _ in range(3)]
    await anext(streams[0])
    waiting = [asyncio.create_task(anext(stream)) for stream in streams[1:]]
    await asyncio.sleep(0)
    await backend.close()
    await backend.close()
    ends = await asyncio.gather(*waiting, read_on(streams[0], at_most=MANY), return_exceptions=True)
    assert [getattr(end, "reason", end) for end in ends] == [Reason.MODEL_UNAVAILABLE] * 3
    with pytest.raises(RouterError) as raised:
        await collect(backend, ask())
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert backend.statistics().running == 0


async def test_a_truncated_model_is_unavailable_and_names_itself(
    tmp_path: Path, tiny_folder: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "broken"))
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(RouterError, match="broken") as raised:
        await OnnxRuntimeBackend.load(folder, BackendOptions(threads=2))
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE


@pytest.mark.parametrize(
    "options",
    [
        BackendOptions(slots=0),
        BackendOptions(slots=257),
        BackendOptions(context=129),
        BackendOptions(prefill_chunk=1),
        BackendOptions(max_waiting=-1),
    ],
)
async def test_options_out_of_bounds_are_refused(
    tiny_folder: Path, options: BackendOptions
) -> None:
    with pytest.raises(RouterError) as raised:
        await OnnxRuntimeBackend.load(tiny_folder, options)
    assert raised.value.reason is Reason.INVALID_ARGUMENT


async def test_memory_bounds_the_context_and_the_answers_of_one_request(
    tiny_folder: Path,
) -> None:
    position = 2 * 2 * 2 * 16 * 4  # layers, keys and values, heads, their size, bytes
    options = BackendOptions(threads=2, slots=4, cache_bytes=100 * position, cache_type="float32")
    backend = await OnnxRuntimeBackend.load(tiny_folder, options)
    assert backend.context == 100
    together = await asyncio.gather(*(collect(backend, ask(max_tokens=60)) for _ in range(4)))
    assert len(together) == 4
    with pytest.raises(RouterError, match="key/value memory") as raised:
        await collect(backend, replace(ask(), sampling=SamplingOptions(n=4, max_tokens=30)))
    assert raised.value.reason is Reason.UNSUPPORTED_OPTION
    nobody = replace(ask(), sampling=SamplingOptions(n=4, max_tokens=30, seed=1), shrinks=True)
    ends = [one for one in await collect(backend, nobody) if isinstance(one, BackendFinished)]
    assert len(ends) == 4
    share = 100 // 4 - len(nobody.prompt_tokens)
    assert all(0 < one.completion_tokens <= share for one in ends), "each has its share"
    await backend.close()
