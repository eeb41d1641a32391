"""The interface between the inference service and whatever runs a model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from llmrouter.common.embedding import EmbeddingRequest, Vector
from llmrouter.common.generation import (
    FinishReason,
    Priority,
    RequestContext,
    SamplingOptions,
    TokenLogprob,
)
from llmrouter.common.profiling.formats import Step

__all__ = [
    "Backend",
    "BackendEvent",
    "BackendFinished",
    "BackendOptions",
    "BackendRequest",
    "BackendStatistics",
    "Embedder",
    "StepRecorder",
    "TokenDelta",
]


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """How a model is run."""

    threads: int = 0
    """Compute threads, shared by every model of the process; 0 takes the cores given to it."""
    slots: int = 16
    """Sequences decoded at once; bounds 1 to 256."""
    context: int = 0
    """Tokens of prompt and answer together per slot; 0 takes the model's own."""
    max_waiting: int = 256
    """Requests that may wait for a slot, or for their readers, before QUEUE_FULL."""
    prefill_chunk: int = 256
    """Prompt tokens computed per step at most; fewer while others decode."""
    cache_type: str = "auto"
    """How keys and values are kept: `float16` or `float32` where our own kernels compute attention;
    `auto` takes float16 for quantised models. Elsewhere the graph decides."""
    cache_bytes: int = 0
    """Memory that running sequences may come to take for keys and values; 0 for what all slots can.
    Beyond it requests wait; it bounds the context too."""
    prefix_bytes: int = 128 << 20
    """Memory for the keys and values of earlier prompts and answers; 0 keeps none."""
    share_prefixes: bool = False
    """Whether requests of different scopes reuse each other's."""
    parked_bytes: int = 256 << 20
    """Memory for those of sequences that gave way to a higher class; beyond it, computed again."""
    ageing_seconds: float = 10.0
    """Waiting that one class of priority is worth, so that no class starves."""
    workspace_bytes: int = 0
    """Memory that ONNX Runtime may compute with beside the weights of a model; 0 takes what the
    shape of the model calls for."""
    device: str = "auto"
    """Where models compute: `cpu`; `cuda`, or `cuda:1` and so on; `auto` for the first GPU where
    the installed ONNX Runtime has CUDA. Models that cannot run there run on the processor."""
    kernels: str = "auto"
    """Who computes attention and multiplies quantised matrices: `onnxruntime`; `native`, kernels of
    our own, which need AVX2; `auto` takes ours, but for products where there is AVX-VNNI
    without AVX-512."""
    speculation_always: bool = False
    """Whether to draft, in quantised models, for answers that are to be the same in any company."""
    speculation_tokens: int = 12
    """Tokens drafted at once at most, from the text so far; 0 drafts none."""
    shared_weights: Path | None = None
    """Folder for weights in the order of our own kernels, which processes then share; None keeps
    them in memory of each process."""
    batch_size: int = 32
    """Whole requests computed at once by engines that take a batch; bounds 1 to 1024."""
    batch_window_seconds: float = 0.002
    """How long such a request waits for company."""
    batch_padding: float = 0.25
    """Share of such a batch that may be padding; 0 to below 1."""


@dataclass(frozen=True, slots=True)
class BackendRequest:
    """One prompt and the answers to generate for it."""

    prompt_tokens: Sequence[int]
    """Token ids, at least one."""
    sampling: SamplingOptions
    """Validated. `max_tokens` is set; prompt plus max_tokens may pass the context: then LENGTH."""
    priority: Priority = Priority.NORMAL
    timeout: float | None = None
    """Seconds after which the answer is of no use: then DEADLINE_EXCEEDED."""
    scope: str = ""
    """Who may share computed prefixes: requests of the same scope."""
    answered: Sequence[int] = ()
    """Tokens of the answer that were generated elsewhere: it goes on after them, as if they were
    its own. Fewer than `max_tokens`; one answer, without a response format."""


@dataclass(frozen=True, slots=True)
class TokenDelta:
    """Text that became final in one or more steps; whole UTF-8 characters, no stop strings."""

    text: str
    tokens: int
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    """One per token where asked for; then the text may be empty."""
    token_ids: tuple[int, ...] = ()
    """The tokens, by which a replica could go on; empty where the engine does not tell them."""


@dataclass(frozen=True, slots=True)
class BackendFinished:
    """The last event of a choice. Times in seconds by the engine's clock."""

    reason: FinishReason
    stop: str
    prompt_tokens: int
    completion_tokens: int
    """Generated here."""
    queue: float
    prefill: float
    decode: float
    time_to_first_token: float
    """From submission to the first sampled token."""
    cached_prompt_tokens: int = 0
    """Prompt tokens that were not computed again."""
    choice: int = 0


BackendEvent = TokenDelta | BackendFinished


@dataclass(frozen=True, slots=True)
class BackendStatistics:
    """A moment's load. Cheap enough to read every second."""

    running: int = 0
    waiting: int = 0
    held: int = 0
    """Sequences off their slots until their readers have taken what they said."""
    slots: int = 0
    steps: int = 0
    """Decoder runs since load."""
    prompt_tokens: int = 0
    """Prompt tokens computed since load."""
    completion_tokens: int = 0
    """Tokens sampled since load."""
    cache_bytes: int = 0
    """Key/value memory committed now, in bytes."""
    reused_tokens: int = 0
    """Prompt tokens since load that earlier prompts and answers had computed already."""
    preemptions: int = 0
    """Sequences since load that gave way to a higher class."""
    drafted_tokens: int = 0
    """Tokens since load that were drafted and verified."""
    accepted_tokens: int = 0
    """Those of them that became part of an answer."""
    busy_seconds: float = 0.0
    """Seconds since load in which the engine had work."""
    decoder_seconds: float = 0.0
    """Those of `busy_seconds` that the decoder's own runs took."""
    step_seconds: float = 0.0
    """Mean time of a decoding step."""
    estimated_wait_seconds: float = 0.0
    """What a request of normal priority that came now would wait for a slot."""
    prefix_bytes: int = 0
    """Memory of kept prefixes."""
    parked_bytes: int = 0
    """Memory of sequences that gave way."""


class Backend(Protocol):
    """A loaded model. Made by `load`, used from one event loop, ended by `close`."""

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> Backend:
        """Load the model in `folder` without blocking the event loop.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it.
        """
        ...

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together that one sequence may hold."""
        ...

    @classmethod
    def honours(cls) -> frozenset[str]:
        """What of `capabilities.SAMPLING` requests may ask of its models, and CONTINUATION."""
        ...

    def generate(self, request: BackendRequest) -> AsyncIterator[BackendEvent]:
        """Stream every choice of a request; closing the iterator cancels them within one step.

        The events of choices come in any order. While the consumer lags, the deltas of a choice
        merge into one of bounded size.

        Raises:
            RouterError: INVALID_ARGUMENT naming the place in a response format that is wrong;
                UNSUPPORTED_OPTION naming an option that this model cannot honour, and its bound;
                QUEUE_FULL with retry_after; CONTEXT_TOO_LONG naming both numbers; SLOW_READER when
                the bounded buffer is full and the sequence cannot be held; GENERATION_FAILED for a
                failed step.
        """
        ...

    def statistics(self) -> BackendStatistics:
        """Return the load of this moment."""
        ...

    def forget_prefixes(self, keep_bytes: int) -> None:
        """Free the keys and values of earlier prompts, the least recently used first.

        Soon, `keep_bytes` of them are left at most; later prompts may fill the cache again.
        """
        ...

    async def close(self) -> None:
        """Cancel what runs and free everything; safe to call twice."""
        ...


@runtime_checkable
class StepRecorder(Protocol):
    """A backend that can tell its steps one by one."""

    def record_steps(self, most: int) -> None:
        """Keep the next steps, `most` at most, until they are taken."""
        ...

    def take_steps(self) -> list[Step]:
        """End that; return them in order."""
        ...


class Embedder(Protocol):
    """A loaded embedding model. Made by `load`, used from one event loop, ended by `close`."""

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> Embedder:
        """Load the model in `folder` without blocking the event loop.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it.
        """
        ...

    @property
    def context(self) -> int:
        """Tokens of one text, control tokens included."""
        ...

    @property
    def dimensions(self) -> int:
        """Values of one vector."""
        ...

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> tuple[Vector, ...]:
        """Return the vectors in the order of the texts; being cancelled drops what still waits.

        Raises:
            RouterError: QUEUE_FULL with retry_after; CONTEXT_TOO_LONG naming both numbers;
                DEADLINE_EXCEEDED; GENERATION_FAILED.
        """
        ...

    def statistics(self) -> BackendStatistics:
        """Return the load of this moment; a step is a batch."""
        ...

    async def close(self) -> None:
        """Cancel what runs and free everything; safe to call twice."""
        ...
