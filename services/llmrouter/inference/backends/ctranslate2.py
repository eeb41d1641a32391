"""Runs CTranslate2 folders: whole batches, their tokens streamed through its callback.

CTranslate2 offers no step of its own, so a batch runs until its last sequence has ended; those that
end earlier leave it through the callback. Only sequences with the same way of drawing share one:
it is a setting of the whole call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from llmrouter import _native
from llmrouter.common.errors import FieldViolation, Reason, RouterError, context_too_long, invalid
from llmrouter.common.generation import SamplingOptions
from llmrouter.inference.backends.base import (
    BackendEvent,
    BackendOptions,
    BackendRequest,
    BackendStatistics,
)
from llmrouter.inference.backends.batching import BatchLoop, Job, Wishes, batcher_for
from llmrouter.inference.backends.cores import available_cores
from llmrouter.inference.backends.ctranslate2_models import BatchModel, open_model
from llmrouter.inference.backends.event_buffer import EventBuffer
from llmrouter.inference.backends.native_events import put_event
from llmrouter.inference.background import in_background
from llmrouter.inference.models.ctranslate2_folder import (
    CTranslate2Folder,
    read_ctranslate2_folder,
)
from llmrouter.inference.models.text import load_text
from llmrouter.inference.models.token_ids import probe_tokens

__all__ = ["CTranslate2Backend"]

_BUFFER_BYTES = 64 * 1024
"""Text a reader may be behind before its sequence ends as SLOW_READER."""
_BATCH_POSITIONS = 16_384
"""Sequences times the longest prompt, computed at once."""
_GREEDY_BELOW = 1e-6
"""Temperatures that leave the best token alone, as in the compiled engine; the smallest of them
make numbers that are none of CTranslate2's 32-bit floats."""
_HONOURED = frozenset({"temperature", "top_k", "top_p", "max_tokens", "stop", "seed"})
"""Sampling options that mean here what they mean elsewhere; the seed where nothing is drawn."""


@dataclass(slots=True)
class _Sequence:
    """One sequence on its way; used by the batcher's thread alone once it runs."""

    tokens: list[str]
    limit: int
    """Tokens it may generate."""
    drawing: tuple[tuple[str, Any], ...]
    """CTranslate2's options for drawing, alike for all sequences of one call."""
    text: _native.TextStream
    generated: int = 0
    over: bool = False

    @property
    def call(self) -> tuple[Any, ...]:
        """What sequences of one call have in common.

        Prompts of one token run apart: beside one, CTranslate2 tells the remaining tokens of longer
        prompts as if they had been generated.
        """
        return (self.drawing, len(self.tokens) == 1)

    @property
    def kind(self) -> int:
        """A number that is the same for sequences of one call."""
        return hash(self.call)


class CTranslate2Backend:
    """A model on CTranslate2, decoder-only or with an encoder; see `Backend` for the contract."""

    def __init__(
        self,
        folder: CTranslate2Folder,
        model: BatchModel,
        token_bytes: Sequence[bytes],
        options: BackendOptions,
    ) -> None:
        """Serve `model` on the running event loop; `load` makes one from a folder."""
        self._folder, self._model = folder, model
        self._token_bytes, self._name = token_bytes, folder.path.name.partition("@")[0]
        self._ends = frozenset(folder.eos_token_ids)
        self._context = options.context or folder.context_length
        options = replace(options, batch_size=min(options.batch_size, options.slots))
        self._batches: BatchLoop[_Sequence] = BatchLoop(
            batcher_for(options, _BATCH_POSITIONS), self._run, options.batch_size
        )

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> CTranslate2Backend:
        """Load the model in `folder` without blocking the event loop.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it;
                INVALID_ARGUMENT for options out of bounds.
        """
        read = await in_background(read_ctranslate2_folder, folder)
        if options.context > read.context_length:
            raise invalid(
                "context",
                f"{options.context} is more than the {read.context_length} tokens of {read.name}",
            )
        text = await in_background(load_text, read)
        await in_background(probe_tokens, folder, text.encode, read.vocab_size)
        token_bytes = await in_background(lambda: text.token_bytes)
        # Its threads inherit how eager the one is that starts them: they serve later.
        model = await asyncio.to_thread(open_model, read, options.threads or available_cores())
        return cls(read, model, token_bytes, options)

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together that one sequence may hold."""
        return self._context

    @classmethod
    def honours(cls) -> frozenset[str]:
        """Nothing: the library draws tokens by itself, for whole batches."""
        return frozenset()

    async def generate(self, request: BackendRequest) -> AsyncIterator[BackendEvent]:
        """Stream one sequence; closing the iterator ends it with the next token.

        Raises:
            RouterError: As in `Backend.generate`; UNSUPPORTED_OPTION naming an option that
                CTranslate2 cannot honour.
        """
        sequence = self._sequence(request)
        buffer = EventBuffer(_BUFFER_BYTES)
        length = len(sequence.tokens)
        wishes = Wishes(length, request.priority, request.timeout, sequence.kind)
        batcher = self._batches.batcher
        running = self._batches.submit(sequence, wishes, _into(buffer, batcher))
        try:
            async for event in buffer.events():
                yield event
        finally:
            batcher.cancel(running)

    def statistics(self) -> BackendStatistics:
        """Return the load of this moment; a step is a batch."""
        return self._batches.statistics()

    def forget_prefixes(self, keep_bytes: int) -> None:
        """Do nothing: a batch keeps nothing for later prompts."""

    async def close(self) -> None:
        """Cancel what runs and free the model; safe to call twice."""
        await self._batches.close()
        await asyncio.to_thread(self._model.unload)

    def _sequence(self, request: BackendRequest) -> _Sequence:
        prompt, sampling = request.prompt_tokens, request.sampling
        if request.answered:
            told = "this model's engine cannot go on with an answer that another one began"
            raise RouterError(Reason.UNSUPPORTED_OPTION, told)
        _refuse_unknown(sampling)
        _refuse_foreign(prompt, self._folder.vocab_size)
        if len(prompt) >= self._context:
            raise context_too_long(len(prompt), self._context, self._name)
        # What an encoder reads takes no place of the answer's.
        room = self._context - (0 if self._folder.encodes else len(prompt))
        return _Sequence(
            tokens=[self._folder.tokens[token] for token in prompt],
            limit=min(room, sampling.max_tokens or room),
            drawing=_drawing(sampling, self._folder.vocab_size),
            text=_native.TextStream(list(sampling.stop)),
        )

    def _run(self, jobs: Sequence[Job[_Sequence]]) -> None:
        """Compute one batch on the batcher's thread.

        It holds sequences of one call, unless their kinds, being hashes, have met by chance.
        """
        alike: dict[Any, list[Job[_Sequence]]] = {}
        for job in jobs:
            alike.setdefault(job.payload.call, []).append(job)
        for group in alike.values():
            try:
                self._generate(group, dict(group[0].payload.drawing))
            except Exception as error:  # noqa: BLE001 - it must not reach the other calls
                for job in group:  # those that have ended are not failed again
                    message = f"CTranslate2 failed: {error}"
                    code = _native.ErrorCode.GENERATION_FAILED
                    self._batches.batcher.fail(job.id, code, message)

    def _generate(self, jobs: Sequence[Job[_Sequence]], drawing: dict[str, Any]) -> None:
        wanted = [job for job in jobs if self._batches.batcher.wanted(job.id)]
        if not wanted:
            return
        self._model.run(
            [job.payload.tokens for job in wanted],
            [job.payload.limit for job in wanted],
            lambda place, token: self._step(wanted[place], token),
            drawing,
        )
        for job in wanted:
            if not job.payload.over:
                self._finish(job, _native.FinishReason.LENGTH)

    def _step(self, job: Job[_Sequence], token: int) -> bool:
        """Take one token of one sequence; True ends it. What it raises would end the batch."""
        try:
            self._take(job, token)
        except Exception as error:  # noqa: BLE001 - it must not reach the others of the batch
            job.payload.over = True
            code = _native.ErrorCode.GENERATION_FAILED
            self._batches.batcher.fail(job.id, code, f"a token could not be taken: {error}")
        return job.payload.over

    def _take(self, job: Job[_Sequence], token: int) -> None:
        one = job.payload
        if one.over:
            return
        if not self._batches.batcher.wanted(job.id):
            one.over = True
            return
        one.generated += 1
        if token in self._ends:
            self._finish(job, _native.FinishReason.STOP, tokens=1)
            return
        text = one.text.push(self._token_bytes[token] if token < len(self._token_bytes) else b"")
        self._batches.batcher.publish(job.id, text, 1)
        if one.text.stopped:
            self._finish(job, _native.FinishReason.STOP)
        elif one.generated >= one.limit:
            self._finish(job, _native.FinishReason.LENGTH)

    def _finish(
        self, job: Job[_Sequence], reason: _native.FinishReason, *, tokens: int = 0
    ) -> None:
        one = job.payload
        one.over = True
        self._batches.batcher.publish(job.id, one.text.finish(), tokens)
        self._batches.batcher.finish(job.id, reason, one.text.matched, one.generated)


def _refuse_unknown(sampling: SamplingOptions) -> None:
    """Refuse options that CTranslate2 would not honour, whichever there will be."""
    for field in fields(sampling):
        if field.name in _HONOURED:
            continue
        usual = field.default if field.default_factory is MISSING else field.default_factory()
        if getattr(sampling, field.name) != usual:
            raise _unsupported(field.name, "is not honoured by CTranslate2; leave it out")
    if sampling.seed is not None and sampling.temperature > 0:
        raise _unsupported(
            "seed",
            "is not honoured by CTranslate2, which draws for the whole process; leave it out or "
            "set the temperature to 0",
        )


def _unsupported(option: str, description: str) -> RouterError:
    field = f"sampling.{option}"
    return RouterError(
        Reason.UNSUPPORTED_OPTION,
        f"{field}: {description}",
        violations=(FieldViolation(field, description),),
    )


def _refuse_foreign(prompt: Sequence[int], vocab_size: int) -> None:
    if not prompt:
        raise invalid("prompt", "must have at least one token")
    outside = next((token for token in prompt if not 0 <= token < vocab_size), None)
    if outside is not None:
        raise invalid("prompt", f"token {outside} is outside the vocabulary of {vocab_size}")


def _drawing(sampling: SamplingOptions, vocab_size: int) -> tuple[tuple[str, Any], ...]:
    if sampling.temperature < _GREEDY_BELOW:
        return (("sampling_topk", 1),)
    return (
        # More than there are tokens is as good as all, which CTranslate2 would refuse.
        ("sampling_topk", min(sampling.top_k, vocab_size)),
        ("sampling_topp", sampling.top_p),
        ("sampling_temperature", sampling.temperature),
    )


def _into(buffer: EventBuffer, batcher: _native.SequenceBatcher) -> Callable[[_native.Event], None]:
    """Return a sink that hands the events of one sequence to its consumer."""

    def take(event: _native.Event) -> None:
        if not put_event(buffer, event):
            batcher.cancel(event.id)

    return take
