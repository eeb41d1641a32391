"""Runs onnxruntime-genai folders on the compiled engine."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from llmrouter import _native
from llmrouter.common.capabilities import CONTINUATION, SAMPLING, STRUCTURED_OUTPUT
from llmrouter.common.errors import FieldViolation, Reason, RouterError, context_too_long
from llmrouter.common.generation import Priority
from llmrouter.common.profiling.formats import Step
from llmrouter.inference.backends.base import (
    BackendEvent,
    BackendOptions,
    BackendRequest,
    BackendStatistics,
)
from llmrouter.inference.backends.constraints import Constraints
from llmrouter.inference.backends.event_buffer import EventBuffer
from llmrouter.inference.backends.free_memory import give_back
from llmrouter.inference.backends.grammar_text import FIELD
from llmrouter.inference.backends.llguidance_library import find_llguidance
from llmrouter.inference.backends.native_events import put_event, reason_of
from llmrouter.inference.backends.native_steps import steps_of
from llmrouter.inference.backends.ort_loading import failures_named, load_decoder, open_library
from llmrouter.inference.background import in_background
from llmrouter.inference.models.folder import folder_card, read_folder
from llmrouter.inference.models.shared_tokenizer import share_tokenizer

__all__ = ["OnnxRuntimeBackend", "make_engine"]

_log = structlog.get_logger("llmrouter.models")
_BUFFER_BYTES = 64 * 1024
"""What each answer's reader may be behind, on average: `EventBuffer` says when its sequence leaves
its slot until all is read. It ends as SLOW_READER where as many wait or are held as may."""

_SEED_BITS = 64
_FIELDS = {"answered": "continuation.token_ids"}
"""What callers call a field that the engine names, where it is no option of sampling."""

_PRIORITIES = {
    Priority.LOW: _native.Priority.LOW,
    Priority.NORMAL: _native.Priority.NORMAL,
    Priority.HIGH: _native.Priority.HIGH,
}


class OnnxRuntimeBackend:
    """A model on the compiled engine; see `Backend` for the contract."""

    def __init__(
        self,
        engine: _native.Engine,
        name: str,
        constraints: Constraints | None = None,
        *,
        share_prefixes: bool = False,
        drafts: bool = False,
    ) -> None:
        """Serve `engine` on the running event loop; `load` makes one from a folder."""
        self._engine, self._name, self._constraints = engine, name, constraints
        self._share_prefixes, self._drafts = share_prefixes, drafts
        self._buffers: dict[int, EventBuffer] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(engine.event_fd, self._deliver)
        self._closed = False

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> OnnxRuntimeBackend:
        """Load the model in `folder` without blocking the event loop.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it;
                INVALID_ARGUMENT for options out of bounds.
        """
        # Threads inherit how eager they are: those that serve are not started in the background.
        await asyncio.to_thread(open_library, options)
        decoder, vocabulary = await in_background(load_decoder, folder, options)
        with failures_named(str(folder)):
            engine = await asyncio.to_thread(_start, decoder, vocabulary, options)
        constraints = await in_background(_constraints, folder)
        # Otherwise a near tie may fall the other way where several tokens are computed at once.
        exact = engine.rounds_alike or await in_background(_is_unquantised, folder)
        return cls(
            engine,
            folder.name.partition("@")[0],
            constraints,
            share_prefixes=options.share_prefixes,
            drafts=exact or options.speculation_always,
        )

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together that one sequence may hold."""
        return self._engine.context

    @classmethod
    def honours(cls) -> frozenset[str]:
        """Everything; a format only where llguidance is there to follow grammars."""
        able = SAMPLING | {CONTINUATION}
        return able if find_llguidance() is not None else able - {STRUCTURED_OUTPUT}

    async def generate(self, request: BackendRequest) -> AsyncIterator[BackendEvent]:
        """Stream every choice; closing the iterator cancels them within one engine step.

        Raises:
            RouterError: As in `Backend.generate`.
        """
        began = time.monotonic()
        grammar = await self._grammar(request)
        sequence = self._submit(request, grammar, time.monotonic() - began)
        hold = functools.partial(self._hold, sequence)
        buffer = EventBuffer(_BUFFER_BYTES, request.sampling.n, hold)
        self._buffers[sequence] = buffer
        try:
            async for event in buffer.events():
                yield event
        finally:
            del self._buffers[sequence]
            if not buffer.ended:
                self._engine.cancel(sequence)

    def record_steps(self, most: int) -> None:
        """Keep the next steps, `most` at most, until they are taken."""
        self._engine.trace(most)

    def take_steps(self) -> list[Step]:
        """End that; return them in order."""
        return steps_of(self._engine.take_trace())

    def statistics(self) -> BackendStatistics:
        """Return the load of this moment."""
        now = self._engine.statistics()
        return BackendStatistics(
            running=now.running,
            waiting=now.waiting,
            held=now.held,
            slots=now.slots,
            steps=now.steps,
            prompt_tokens=now.prompt_tokens,
            completion_tokens=now.completion_tokens,
            cache_bytes=now.cache_bytes,
            reused_tokens=now.reused_tokens,
            preemptions=now.preemptions,
            drafted_tokens=now.drafted_tokens,
            accepted_tokens=now.accepted_tokens,
            busy_seconds=now.busy_seconds,
            decoder_seconds=now.decoder_seconds,
            step_seconds=now.step_seconds,
            estimated_wait_seconds=now.estimated_wait_seconds,
            prefix_bytes=now.prefix_bytes,
            parked_bytes=now.parked_bytes,
        )

    def forget_prefixes(self, keep_bytes: int) -> None:
        """Free the keys and values of earlier prompts, down to `keep_bytes`."""
        self._engine.forget_prefixes(keep_bytes)

    async def close(self) -> None:
        """Cancel what runs and free the model; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._constraints is not None:
            self._constraints.close()
        await asyncio.to_thread(self._engine.stop)
        self._loop.remove_reader(self._engine.event_fd)
        self._deliver()
        await asyncio.to_thread(give_back)

    async def _grammar(self, request: BackendRequest) -> _native.Grammar | None:
        wanted = request.sampling.response_format
        if wanted is None:
            return None
        if self._constraints is not None:
            return await self._constraints.compile(wanted)
        description = "needs llguidance, which is not installed here; leave it out"
        raise RouterError(
            Reason.UNSUPPORTED_OPTION,
            f"{FIELD}: {description}",
            violations=(FieldViolation(FIELD, description),),
        )

    def _submit(
        self, request: BackendRequest, grammar: _native.Grammar | None, spent: float
    ) -> int:
        """Queue a request; compiling its grammar has `spent` seconds of its time."""
        sampling = request.sampling
        seed = secrets.randbits(_SEED_BITS) if sampling.seed is None else sampling.seed
        try:
            return self._engine.submit(
                request.prompt_tokens,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                seed=seed % 2**_SEED_BITS,
                max_tokens=self._longest(request),
                stop=sampling.stop,
                priority=_PRIORITIES[request.priority],
                timeout=None if request.timeout is None else max(0.0, request.timeout - spent),
                scope=0 if self._share_prefixes else _scope(request.scope),
                min_p=sampling.min_p,
                repetition_penalty=sampling.repetition_penalty,
                presence_penalty=sampling.presence_penalty,
                frequency_penalty=sampling.frequency_penalty,
                logit_bias=sampling.logit_bias,
                min_tokens=sampling.min_tokens,
                answers=sampling.n,
                top_logprobs=sampling.top_logprobs if sampling.logprobs else -1,
                grammar=grammar,
                answered=request.answered,
                drafts=self._drafts or not sampling.deterministic,
            )
        except _native.EngineError as error:
            raise self._refusal(error, request) from error

    def _longest(self, request: BackendRequest) -> int:
        """Return how many tokens an answer may have: no more than what is there for each."""
        sampling = request.sampling
        limit = self.context if sampling.max_tokens is None else sampling.max_tokens
        if request.shrinks and self._engine.positions:
            share = self._engine.positions // sampling.n - len(request.prompt_tokens)
            limit = min(limit, max(1, sampling.min_tokens, share))
        return min(limit, self.context)

    def _refusal(self, error: _native.EngineError, request: BackendRequest) -> RouterError:
        reason = reason_of(error.code)
        if reason is Reason.CONTEXT_TOO_LONG:
            return context_too_long(len(request.prompt_tokens), self.context, self._name)
        if error.field:
            field = _FIELDS.get(error.field, f"sampling.{error.field}")
            violation = FieldViolation(field, error.description)
            return RouterError(reason, f"{field} {error.description}", violations=(violation,))
        if reason is not Reason.QUEUE_FULL:
            return RouterError(reason, str(error))
        wait = self._engine.estimated_wait(_PRIORITIES[request.priority], request.sampling.n)
        # A place in the queue is free as soon as one slot is.
        pause = min(60.0, max(0.1, wait / max(1, self._engine.statistics().waiting)))
        return RouterError(
            reason,
            f"{error}; a request would wait about {wait:.1f} s",
            metadata={"estimated_wait_seconds": f"{wait:.3f}"},
            retry_after=pause,
        )

    def _hold(self, sequence: int, held: bool) -> None:
        """Take a sequence whose reader lags off its slot, or let it go on."""
        if held:
            self._engine.hold(sequence)
        else:
            self._engine.resume(sequence)

    def _deliver(self) -> None:
        """Hand the events of one or more steps to their consumers."""
        for event in self._engine.drain():
            buffer = self._buffers.get(event.id)
            if buffer is None:
                continue
            if not put_event(buffer, event):
                self._engine.cancel(event.id)


def make_engine(path: Path, options: BackendOptions) -> _native.Engine:
    """Load the model in `path` and start its engine, without an event loop.

    Raises:
        RouterError: As in `OnnxRuntimeBackend.load`.
    """
    open_library(options)
    with failures_named(str(path)):
        return _start(*load_decoder(path, options), options)


def _start(
    decoder: _native.Decoder, vocabulary: _native.Vocabulary, options: BackendOptions
) -> _native.Engine:
    return _native.Engine(
        decoder,
        vocabulary,
        max_waiting=options.max_waiting,
        prefill_chunk=options.prefill_chunk,
        cache_bytes=options.cache_bytes,
        prefix_bytes=options.prefix_bytes,
        parked_bytes=options.parked_bytes,
        ageing=options.ageing_seconds,
        speculation_tokens=options.speculation_tokens,
    )


def _constraints(path: Path) -> Constraints | None:
    """Return what compiles response formats for the model in `path`; None without llguidance."""
    library = find_llguidance()
    if library is None:
        return None
    folder = read_folder(path)

    def words() -> list[bytes]:
        return share_tokenizer(folder.path, folder.vocab_size).token_bytes

    return Constraints(library, words, folder.eos_token_ids)


def _is_unquantised(path: Path) -> bool:
    card = folder_card(path)
    return card is not None and card.precision == "fp32"


def _scope(name: str) -> int:
    """Return the number by which the engine keeps the prefixes of `name` apart from others."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
