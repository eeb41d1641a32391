"""Measures the engine on a model folder; each function returns named figures.

Nothing here judges: targets stand with the benchmark that calls these. Rates are tokens per second,
times are seconds, memory is bytes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import psutil

from llmrouter.common.generation import SamplingOptions
from llmrouter.inference.backends.base import (
    BackendFinished,
    BackendOptions,
    BackendRequest,
    TokenDelta,
)
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.text import load_text

__all__ = [
    "measure_against_bare_session",
    "measure_load",
    "measure_memory",
    "measure_single_stream",
    "measure_streams",
]

Figures = dict[str, float]

CONTEXT = 2048
THREADS = 2
COUNTING = ", ".join(str(number) for number in range(1, 200))
"""Text that a model goes on with rather than ends."""


@asynccontextmanager
async def _loaded(folder: Path, slots: int) -> AsyncIterator[OnnxRuntimeBackend]:
    # What is drafted depends on the text; `make bench NAME=speculation` tells what that brings.
    options = BackendOptions(threads=THREADS, slots=slots, context=CONTEXT, speculation_tokens=0)
    backend = await OnnxRuntimeBackend.load(folder, options)
    try:
        yield backend
    finally:
        await backend.close()


def _prompt(folder: Path, tokens: int, shift: int = 0) -> list[int]:
    """A prompt of exactly this many tokens; another `shift` gives another one."""
    return load_text(read_folder(folder)).encode(COUNTING)[2 * shift : 2 * shift + tokens]


def _ask(prompt: Sequence[int], max_tokens: int) -> BackendRequest:
    return BackendRequest(prompt, SamplingOptions(temperature=0, max_tokens=max_tokens))


async def _finish(backend: OnnxRuntimeBackend, request: BackendRequest) -> BackendFinished:
    async for event in backend.generate(request):
        if isinstance(event, BackendFinished):
            return event
    raise AssertionError("the stream ended without its last event")


def measure_load(folder: Path, repeats: int = 20) -> Figures:
    """Time to load the model, the first time included."""

    async def load_once() -> float:
        begin = time.perf_counter()
        async with _loaded(folder, slots=16):
            return time.perf_counter() - begin

    times = sorted(asyncio.run(load_once()) for _ in range(repeats))
    return {
        "load_seconds_p50": statistics.median(times),
        "load_seconds_p95": times[min(len(times) - 1, int(0.95 * len(times)))],
    }


def _memory_in_child(folder: Path, results: multiprocessing.Queue[Figures]) -> None:
    async def measure() -> Figures:
        process = psutil.Process()
        text = load_text(read_folder(folder))
        before = process.memory_info().rss
        async with _loaded(folder, slots=16) as backend:
            loaded = process.memory_info().rss
            prompt = text.encode(COUNTING)[:50]
            await asyncio.gather(*(_finish(backend, _ask(prompt, 32)) for _ in range(16)))
            used = process.memory_info().rss
        return {"memory_loaded_bytes": loaded - before, "memory_used_bytes": used - before}

    results.put(asyncio.run(measure()))


def measure_memory(folder: Path) -> Figures:
    """Resident memory added by loading, and after 16 streams, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[Figures] = context.Queue()
    child = context.Process(target=_memory_in_child, args=(folder, results))
    child.start()
    figures = results.get(timeout=300)
    child.join()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    figures["folder_bytes"] = size
    figures["memory_loaded_per_folder"] = figures["memory_loaded_bytes"] / size
    figures["memory_used_per_folder"] = figures["memory_used_bytes"] / size
    return figures


def measure_single_stream(folder: Path, repeats: int = 20, tokens: int = 64) -> Figures:
    """One request at a time: time to first token for 50-token prompts, and decoding speed."""

    async def measure() -> Figures:
        async with _loaded(folder, slots=16) as backend:
            await _finish(backend, _ask(_prompt(folder, 50), 4))
            ends = [
                await _finish(backend, _ask(_prompt(folder, 50, shift), tokens))
                for shift in range(1, repeats + 1)
            ]
        first = [end.time_to_first_token for end in ends]
        rates = [(end.completion_tokens - 1) / end.decode for end in ends if end.decode > 0]
        return {
            "first_token_seconds_mean": statistics.mean(first),
            "first_token_seconds_p95": sorted(first)[int(0.95 * len(first))],
            "single_stream_tokens_per_second": statistics.median(rates),
        }

    return asyncio.run(measure())


async def _stream_rate(backend: OnnxRuntimeBackend, prompts: Sequence[list[int]]) -> float:
    """Tokens per second from when all streams have begun until the first one ends."""
    begun: set[int] = set()
    window: list[tuple[float, int]] = []

    def mark() -> None:
        window.append((time.perf_counter(), backend.statistics().completion_tokens))

    async def consume(number: int, prompt: list[int]) -> None:
        async for event in backend.generate(_ask(prompt, 128)):
            if isinstance(event, TokenDelta) and number not in begun:
                begun.add(number)
                if len(begun) == len(prompts):
                    mark()
            elif isinstance(event, BackendFinished) and len(window) == 1:
                mark()

    await asyncio.gather(*(consume(number, prompt) for number, prompt in enumerate(prompts)))
    if len(window) < 2:
        raise AssertionError("a stream ended before all had begun")
    (begin, first), (end, last) = window
    return (last - first) / (end - begin)


def measure_streams(folder: Path, streams: int = 16, repeats: int = 5) -> Figures:
    """Many streams at once: tokens per second of all together while all are decoding."""

    async def measure() -> Figures:
        prompts = [_prompt(folder, 16, shift) for shift in range(streams)]
        async with _loaded(folder, slots=streams) as backend:
            rates = [await _stream_rate(backend, prompts) for _ in range(repeats)]
        return {f"streams_{streams}_tokens_per_second": statistics.median(rates)}

    return asyncio.run(measure())


class _BareSession:
    """The same graph stepped by onnxruntime alone: no sampling, no text, no queue."""

    def __init__(self, folder: ModelFolder, batch: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder.model_file), options, providers=["CPUExecutionProvider"]
        )
        self._batch = batch
        self._binding = self._session.io_binding()
        self._ids = np.full((batch, 1), 100, np.int64)
        self._logits = np.zeros((batch, 1, folder.vocab_size), np.float32)
        self._bind("input_ids", self._ids)
        self._bind_output("logits", self._logits)
        shape = (batch, folder.kv_heads, CONTEXT, folder.head_size)
        past = [i.name for i in self._session.get_inputs() if i.name.startswith("past")]
        present = [o.name for o in self._session.get_outputs() if o.name.startswith("present")]
        self._caches = [np.zeros(shape, np.float32) for _ in past]
        for cache, source, target in zip(self._caches, past, present, strict=True):
            self._bind(source, cache)
            self._bind_output(target, cache)

    def _bind(self, name: str, value: np.ndarray) -> None:
        self._binding.bind_input(name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)

    def _bind_output(self, name: str, value: np.ndarray) -> None:
        self._binding.bind_output(name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)

    def rate(self, begin: int, steps: int) -> float:
        """Tokens per second of `steps` steps after `begin` positions."""
        started = time.perf_counter()
        for position in range(begin, begin + steps):
            mask = np.ones((self._batch, position + 1), np.int64)
            self._bind("attention_mask", mask)
            self._session.run_with_iobinding(self._binding)
        return self._batch * steps / (time.perf_counter() - started)


def measure_against_bare_session(folder: Path, batch: int = 16, repeats: int = 7) -> Figures:
    """The engine's throughput over that of a bare session stepping the same batch.

    Both sides run in turn in one process; the ratio is the median of the pairs' ratios.
    """

    async def measure() -> Figures:
        bare = _BareSession(read_folder(folder), batch)
        prompts = [_prompt(folder, 16, shift) for shift in range(batch)]
        bare_rates, engine_rates = [], []
        async with _loaded(folder, slots=batch) as backend:
            bare.rate(16, 4)
            await _stream_rate(backend, prompts)
            for _ in range(repeats):
                bare_rates.append(bare.rate(16, 112))
                await asyncio.sleep(0.05)  # The bare session's threads spin for a while.
                engine_rates.append(await _stream_rate(backend, prompts))
        ratios = [ours / theirs for ours, theirs in zip(engine_rates, bare_rates, strict=True)]
        return {
            f"bare_{batch}_tokens_per_second": statistics.median(bare_rates),
            f"engine_{batch}_tokens_per_second": statistics.median(engine_rates),
            f"engine_{batch}_over_bare": statistics.median(ratios),
        }

    return asyncio.run(measure())
