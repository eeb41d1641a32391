"""Runs encoders in ONNX form and makes one vector of each text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from llmrouter import _native
from llmrouter.common.embedding import EmbeddingRequest, Vector
from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.generation import RequestContext
from llmrouter.inference.backends.base import BackendOptions, BackendStatistics
from llmrouter.inference.backends.batching import BatchLoop, Job, Wishes, batcher_for, reason_of
from llmrouter.inference.backends.cores import available_cores
from llmrouter.inference.models.embedding_folder import (
    EmbeddingFolder,
    Pooling,
    read_embedding_folder,
)
from llmrouter.inference.models.text import load_tokenizer

__all__ = ["OnnxEmbedder", "pool"]

_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_OUTPUTS = ("last_hidden_state", "token_embeddings")
_BATCH_POSITIONS = 16_384
"""Requests times the longest, computed at once: what bounds the memory of activations."""
_TEXTS_PER_REQUEST = 16
"""A request may carry many texts, so more of them may wait than requests of generation."""

Floats = NDArray[np.float32]


@dataclass(slots=True)
class _Text:
    """One text on its way to its vector."""

    tokens: Sequence[int]
    truncated: bool
    values: list[float] | None = None


class OnnxEmbedder:
    """An encoder behind the batcher; see `Embedder` for the contract."""

    def __init__(
        self,
        folder: EmbeddingFolder,
        session: onnxruntime.InferenceSession,
        tokenizer: Tokenizer,
        cutter: Tokenizer,
        options: BackendOptions,
    ) -> None:
        """Serve `session` on the running event loop; `load` makes one from a folder.

        `cutter` is the tokenizer again, cutting texts to the model's context.
        """
        self._folder, self._session = folder, session
        self._tokenizer, self._cutter = tokenizer, cutter
        self._inputs = [one.name for one in session.get_inputs()]
        self._output = _output_name(folder, session)
        self._batches: BatchLoop[_Text] = BatchLoop(
            batcher_for(options, _BATCH_POSITIONS), self._run, options.batch_size
        )

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> OnnxEmbedder:
        """Load the model in `folder` without blocking the event loop.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it.
        """
        read = await asyncio.to_thread(read_embedding_folder, folder)
        tokenizer = await asyncio.to_thread(load_tokenizer, folder, read.vocab_size)
        cutter = await asyncio.to_thread(load_tokenizer, folder, read.vocab_size)
        cutter.enable_truncation(read.context_length)
        session = await asyncio.to_thread(_open, read, options)
        waiting = options.max_waiting * _TEXTS_PER_REQUEST
        return cls(read, session, tokenizer, cutter, replace(options, max_waiting=waiting))

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
        texts = await asyncio.to_thread(self._encode, request)
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
        return tuple(Vector(text.values or (), len(text.tokens), text.truncated) for text in texts)

    def statistics(self) -> BackendStatistics:
        """Return the load of this moment; a step is a batch."""
        return self._batches.statistics()

    async def close(self) -> None:
        """Cancel what runs and free the model; safe to call twice."""
        await self._batches.close()

    def _encode(self, request: EmbeddingRequest) -> list[_Text]:
        """Tokenize; a text past the context is refused, or cut where that was asked for."""
        found = []
        for index, text in enumerate(request.texts):
            ids: list[int] = self._tokenizer.encode(text).ids
            if not ids:
                raise invalid(f"texts[{index}]", "has no tokens; it must hold text")
            longer = len(ids) > self.context
            if longer and not request.truncate:
                raise self._too_long(index, len(ids))
            if longer:  # the control tokens at both ends stay
                ids = self._cutter.encode(text).ids
            found.append(_Text(ids, truncated=longer))
        return found

    def _too_long(self, index: int, tokens: int) -> RouterError:
        return RouterError(
            Reason.CONTEXT_TOO_LONG,
            f"texts[{index}] has {tokens} tokens, {self._folder.name} takes {self.context}; "
            "shorten it or ask for it to be truncated",
            metadata={"prompt_tokens": str(tokens), "context": str(self.context)},
        )

    def _run(self, jobs: Sequence[Job[_Text]]) -> None:
        """Compute one batch on the batcher's thread."""
        wanted = [job for job in jobs if self._batches.batcher.wanted(job.id)]
        if not wanted:
            return
        ids, mask = self._pad([job.payload.tokens for job in wanted])
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self._session.run([self._output], {name: feeds[name] for name in self._inputs})
        vectors = pool(np.asarray(hidden), mask, self._folder.pooling)
        if self._folder.normalised:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        for job, vector in zip(wanted, vectors, strict=True):
            if not np.isfinite(vector).all():
                code = _native.ErrorCode.GENERATION_FAILED
                self._batches.batcher.fail(job.id, code, "the model computed no finite vector")
                continue
            job.payload.values = vector.tolist()
            self._batches.batcher.finish(job.id, _native.FinishReason.STOP)

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), self._folder.pad_token_id, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return ids, mask


def pool(hidden: Floats, mask: NDArray[np.int64], pooling: Pooling) -> Floats:
    """Return one vector per row.

    Args:
        hidden: [rows, positions, dimensions].
        mask: [rows, positions], 1 for tokens and 0 for padding; every row has a token.
        pooling: How the tokens' vectors become one.
    """
    weights = mask[:, :, None].astype(np.float32)
    match pooling:
        case Pooling.MEAN:
            pooled = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        case Pooling.CLS:
            pooled = hidden[:, 0]
        case Pooling.MAX:
            pooled = np.where(weights > 0, hidden, -np.inf).max(axis=1)
    return np.asarray(pooled, np.float32)


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


def _open(folder: EmbeddingFolder, options: BackendOptions) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = options.threads or available_cores()
    settings.inter_op_num_threads = 1
    # Idle threads sleep: others compute on the same cores. Shapes change from batch to batch, so
    # memory that is kept for one is not what the next needs.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.enable_mem_pattern = False
    settings.enable_cpu_mem_arena = False
    try:
        session = onnxruntime.InferenceSession(
            str(folder.model_file), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the library raises kinds of its own
        raise RouterError(
            Reason.MODEL_UNAVAILABLE, f"cannot load {folder.model_file}: {error}"
        ) from error
    unknown = sorted({one.name for one in session.get_inputs()} - _INPUTS)
    if unknown:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"{folder.model_file}: needs the input '{unknown[0]}', which encoders here do not get",
        )
    return session


def _output_name(folder: EmbeddingFolder, session: onnxruntime.InferenceSession) -> str:
    """Return the output that holds a vector per token, of the configured width."""
    for one in session.get_outputs():
        if one.name not in _OUTPUTS or len(one.shape) != 3:
            continue
        width = one.shape[-1]  # a number, or the name of a size that varies
        if not isinstance(width, int) or width == folder.dimensions:
            return str(one.name)
    raise RouterError(
        Reason.MODEL_UNAVAILABLE,
        f"{folder.model_file}: has no output {' or '.join(_OUTPUTS)} of shape "
        f"[texts, tokens, {folder.dimensions}]",
    )
