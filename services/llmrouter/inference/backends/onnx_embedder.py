"""Runs encoders in ONNX form and makes one vector of each text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llmrouter import _native
from llmrouter.common.embedding import EmbeddingRequest, Vector
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import RequestContext
from llmrouter.common.validation import MAX_TEXTS
from llmrouter.inference.backends.base import BackendOptions, BackendStatistics
from llmrouter.inference.backends.batching import BatchLoop, Job, Wishes, batcher_for
from llmrouter.inference.backends.encoding import TextEncoder
from llmrouter.inference.backends.ending import EndableRun
from llmrouter.inference.backends.native_events import reason_of
from llmrouter.inference.backends.onnx_encoder import OnnxEncoder, open_encoder
from llmrouter.inference.backends.ort_loading import open_library
from llmrouter.inference.background import in_background
from llmrouter.inference.models.counted import computing_bytes
from llmrouter.inference.models.embedding_folder import EmbeddingFolder, read_embedding_folder
from llmrouter.inference.models.text_files import load_tokenizer
from llmrouter.inference.models.token_ids import probe_tokens
from llmrouter.inference.models.workspace import ENCODED_POSITIONS

__all__ = ["OnnxEmbedder"]

_TEXTS_PER_REQUEST = 16
"""A request may carry many texts, so more of them may wait than requests of generation."""
_PROBE_SECONDS = 120.0
"""How long a text that fills the context may take while loading."""


@dataclass(slots=True)
class _Text:
    """One text on its way to its vector."""

    tokens: Sequence[int]
    values: list[float] | None = None


class OnnxEmbedder:
    """An encoder behind the batcher; see `Embedder` for the contract."""

    def __init__(
        self,
        folder: EmbeddingFolder,
        encoder: OnnxEncoder,
        texts: TextEncoder,
        options: BackendOptions,
    ) -> None:
        """Serve `encoder` on the running event loop; `load` makes one from a folder."""
        self._folder, self._encoder, self._texts = folder, encoder, texts
        # A request of as many texts as one may carry has to find room at least when it is alone.
        waiting = max(MAX_TEXTS, options.max_waiting * _TEXTS_PER_REQUEST)
        options = replace(options, max_waiting=waiting)
        batcher = batcher_for(options, ENCODED_POSITIONS)
        self._running = EndableRun(batcher.wanted)
        self._batches: BatchLoop[_Text] = BatchLoop(batcher, self._run, options.batch_size)

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> OnnxEmbedder:
        """Load the model in `folder` without blocking the event loop.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it.
        """
        read = await in_background(read_embedding_folder, folder)
        tokenizer = await in_background(load_tokenizer, folder, read.vocab_size)
        cutter = await in_background(load_tokenizer, folder, read.vocab_size)
        cutter.enable_truncation(read.context_length)
        probe = await in_background(
            probe_tokens, folder, lambda text: tokenizer.encode(text).ids, read.vocab_size
        )
        # Threads inherit how eager the one is that starts them, and these serve later.
        await asyncio.to_thread(open_library, options)
        encoder = await in_background(open_encoder, read, computing_bytes(read, options))
        await asyncio.to_thread(encoder.probe, probe or [read.pad_token_id], _PROBE_SECONDS)
        texts = TextEncoder(read, tokenizer, cutter, options.max_waiting)
        return cls(read, encoder, texts, options)

    @property
    def context(self) -> int:
        """Tokens of one text, control tokens included."""
        return self._folder.context_length

    @property
    def dimensions(self) -> int:
        """Values of one vector."""
        return self._folder.dimensions

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> tuple[Vector, ...]:
        """Return the vectors in the order of the texts.

        Raises:
            RouterError: As in `Embedder.embed`.
        """
        try:
            async with asyncio.timeout(context.remaining()):
                return await self._embed(request, context)
        except TimeoutError:
            raise RouterError(
                Reason.DEADLINE_EXCEEDED, "its deadline passed before all texts were embedded"
            ) from None

    def statistics(self) -> BackendStatistics:
        """Return the load of this moment; a step is a batch."""
        return self._batches.statistics()

    async def close(self) -> None:
        """Cancel what runs and free the model; safe to call twice."""
        self._texts.close()
        # Whoever waits is told, leaves, and with the last of them the computation ends.
        await self._batches.close()
        await asyncio.to_thread(self._encoder.close)

    async def _embed(
        self, request: EmbeddingRequest, context: RequestContext
    ) -> tuple[Vector, ...]:
        encoded = await self._texts.encode(request.texts, truncate=request.truncate)
        self._batches.require_room(len(encoded))
        texts = [_Text(one.tokens) for one in encoded]
        pending: dict[int, asyncio.Future[None]] = {}
        try:
            for text in texts:
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                wishes = Wishes(len(text.tokens), context.priority, context.remaining())
                pending[self._batches.submit(text, wishes, _ending(done))] = done
            await asyncio.gather(*pending.values())
        finally:
            for one, done in pending.items():
                if not done.done() or done.cancelled():
                    self._batches.batcher.cancel(one)
                    done.cancel()
            self._running.end_unwanted()
        return tuple(
            Vector(text.values or (), len(text.tokens), one.truncated)
            for text, one in zip(texts, encoded, strict=True)
        )

    def _run(self, jobs: Sequence[Job[_Text]]) -> None:
        """Compute one batch on the batcher's thread; where it fails, each of its texts alone."""
        with self._running.begin([job.id for job in jobs]) as ending:
            try:
                self._compute(jobs, ending)
            except Exception:
                if len(jobs) == 1:
                    raise
                for job in jobs:
                    self._compute_alone(job, ending)

    def _compute_alone(self, job: Job[_Text], ending: _native.RunEnding) -> None:
        try:
            self._compute([job], ending)
        except Exception as error:  # noqa: BLE001 - it must not reach the others of the batch
            code = _native.ErrorCode.GENERATION_FAILED
            self._batches.batcher.fail(job.id, code, f"the engine failed: {error}")

    def _compute(self, jobs: Sequence[Job[_Text]], ending: _native.RunEnding) -> None:
        wanted = [job for job in jobs if self._batches.batcher.wanted(job.id)]
        if not wanted:
            return
        vectors = self._encoder.vectors([job.payload.tokens for job in wanted], ending)
        for job, vector in zip(wanted, vectors, strict=True):
            if not np.isfinite(vector).all():
                code = _native.ErrorCode.GENERATION_FAILED
                self._batches.batcher.fail(job.id, code, "the model computed no finite vector")
                continue
            job.payload.values = vector.tolist()
            self._batches.batcher.finish(job.id, _native.FinishReason.STOP)


def _ending(done: asyncio.Future[None]) -> Callable[[_native.Event], None]:
    """Return a sink that ends `done` with the request's last event."""

    def take(event: _native.Event) -> None:
        if done.done():
            return
        if isinstance(event, _native.Failed):
            done.set_exception(RouterError(reason_of(event.code), event.message))
        elif isinstance(event, _native.Finished):
            if event.reason is _native.FinishReason.CANCELLED:
                error = RouterError(Reason.MODEL_UNAVAILABLE, "the model is being closed")
                done.set_exception(error)
            else:
                done.set_result(None)

    return take
