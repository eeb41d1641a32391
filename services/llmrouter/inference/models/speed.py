"""Measures how fast a model runs on this machine, on text of our own.

Prompts are pieces of `evaluation.txt`, answers their greedy continuations. No prompt begins as
another did, so that none is spared its prefill.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.generation import SamplingOptions
from llmrouter.inference.backends.base import (
    Backend,
    BackendFinished,
    BackendOptions,
    BackendRequest,
)
from llmrouter.inference.model_options import backend_options
from llmrouter.inference.models.card import Speed, write_card
from llmrouter.inference.models.ctranslate2_folder import read_ctranslate2_folder
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.kinds import Kind, StoredModel, kind_of
from llmrouter.inference.models.machine import describe_machine, resident_bytes
from llmrouter.inference.models.opening import Opener, find_backend
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.quality import evaluation_tokens
from llmrouter.inference.models.reading import read_model
from llmrouter.inference.models.store import disk_error
from llmrouter.inference.settings import InferenceSettings

__all__ = ["STREAMS", "keep_speed", "measure_speed"]

STREAMS = 8
"""Answers generated at once in the measurement of many."""
_LONG_PROMPT = 512
_SHORT_PROMPT = 8
_ANSWER = 64
_PROMPTS = 3
_TIMEOUT = 300.0


async def measure_speed(path: Path, settings: InferenceSettings, progress: Progress) -> Speed:
    """Load the model in `path` as a service does, checks included, run it, and close it again.

    Args:
        path: A folder of a model that generates, in its store.
        settings: Say what runs it and how, as they do for the service, but that at least `STREAMS`
            sequences run at once, earlier prompts are not kept and nothing is drafted.
        progress: Told of the parts done.

    Raises:
        RouterError: INVALID_ARGUMENT for an embedding model; MODEL_UNAVAILABLE for what is wrong
            with the folder, or when the model generates nothing.
    """
    if kind_of(path) is Kind.EMBEDDING:
        raise invalid("name", f"{path.name} turns texts into vectors; only generation is measured")
    tokens = await asyncio.to_thread(_tokens, path)
    opener = Opener(find_backend(settings.backend), _options(settings, path.parent))
    memory, began = resident_bytes(), time.monotonic()
    opened = await opener.open(path)
    loaded = time.monotonic() - began
    try:
        if opened.backend is None:
            raise TypeError("what is no embedding model has a backend")
        bench = _Bench(opened.backend, tokens, progress)
        await bench.warm_up()
        prefill = await bench.prefill_rate()
        alone = await bench.decode_rate(1)
        together = await bench.decode_rate(STREAMS)
        grown = max(0, resident_bytes() - memory)
    finally:
        await opened.engine.close()
    return Speed(
        machine=describe_machine(),
        load_seconds=round(loaded, 3),
        prefill_rate=round(prefill, 1),
        decode_rate=round(alone, 1),
        batch_rate=round(together, 1),
        streams=STREAMS,
        memory_bytes=grown,
    )


def keep_speed(folder: StoredModel, speed: Speed) -> StoredModel:
    """Write `speed` into the card of `folder` and return the folder as it is now.

    Raises:
        RouterError: MODEL_UNAVAILABLE when it has no card, or the disk refuses.
    """
    if folder.card is None:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"{folder.path} was made by others and has no card to keep figures in; import its "
            "checkpoint instead",
        )
    try:
        write_card(replace(folder.card, speed=speed), folder.path)
    except OSError as error:
        raise disk_error(error, folder.path) from error
    return read_model(folder.path)


def _options(settings: InferenceSettings, store: Path) -> BackendOptions:
    served = backend_options(settings, store, 0)
    return replace(
        served,
        slots=max(STREAMS, served.slots),
        batch_size=max(STREAMS, served.batch_size),
        prefix_bytes=0,
        speculation_tokens=0,
    )


@dataclass(slots=True)
class _Bench:
    """One loaded model and the text it is run on."""

    backend: Backend
    tokens: Sequence[int]
    progress: Progress
    _begun: int = 0

    async def warm_up(self) -> None:
        """Let memory be touched and threads be started."""
        await self._answer(self._prompt(_SHORT_PROMPT), 4)

    async def prefill_rate(self) -> float:
        """Return prompt tokens per second: the median of some long prompts."""
        room = self.backend.context - _ANSWER - 1
        length = max(1, min(_LONG_PROMPT, room, len(self.tokens) // 2))
        rates = []
        for at in range(_PROMPTS):
            end = await self._answer(self._prompt(length), 1)
            rates.append(length / max(end.time_to_first_token - end.queue, 1e-6))
            self.progress("measure prefill", at + 1, _PROMPTS)
        return statistics.median(rates)

    async def decode_rate(self, streams: int) -> float:
        """Return generated tokens per second of `streams` answers at once."""
        stage = f"measure {streams} stream{'s' if streams > 1 else ''}"
        self.progress(stage, 0, 1)
        prompts = [self._prompt(_SHORT_PROMPT) for _ in range(streams)]
        began = time.monotonic()
        ends = await asyncio.gather(*(self._answer(prompt, _ANSWER) for prompt in prompts))
        seconds = time.monotonic() - began
        self.progress(stage, 1, 1)
        return sum(end.completion_tokens for end in ends) / seconds

    def _prompt(self, length: int) -> list[int]:
        """Return `length` tokens of the text, each time from another place on."""
        self._begun += 1
        start = self._begun * 17 % max(1, len(self.tokens) - length)
        return list(self.tokens[start : start + length])

    async def _answer(self, prompt: list[int], longest: int) -> BackendFinished:
        sampling = SamplingOptions(temperature=0.0, max_tokens=longest)
        stream = self.backend.generate(BackendRequest(prompt, sampling, timeout=_TIMEOUT))
        async with closing_stream(stream) as events:
            async for event in events:
                if isinstance(event, BackendFinished):
                    return event
        raise RouterError(Reason.MODEL_UNAVAILABLE, "the model ended an answer without a word")


def _tokens(path: Path) -> list[int]:
    if kind_of(path) is Kind.CTRANSLATE2:
        return evaluation_tokens(read_ctranslate2_folder(path))
    return evaluation_tokens(read_folder(path))
