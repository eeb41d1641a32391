# The compiled engine. Private: only `llmrouter.inference.backends` uses it, nothing is stable.

import builtins
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

class ErrorCode(Enum):
    INVALID_ARGUMENT = ...
    UNSUPPORTED_OPTION = ...
    QUEUE_FULL = ...
    CONTEXT_TOO_LONG = ...
    MODEL_UNAVAILABLE = ...
    GENERATION_FAILED = ...
    DEADLINE_EXCEEDED = ...
    SLOW_READER = ...
    STOPPED = ...

class FinishReason(Enum):
    STOP = ...
    LENGTH = ...
    CANCELLED = ...

class Priority(Enum):
    LOW = ...
    NORMAL = ...
    HIGH = ...

# What the engine refuses, in one sentence.
class EngineError(Exception):
    code: Final[ErrorCode]
    # The wrong field of a request, with its value and bound; both empty where no field is to blame.
    field: Final[str]
    description: Final[str]

# The bytes each token stands for, by id, and the tokens that end an answer.
class Vocabulary:
    def __init__(self, tokens: Sequence[bytes], end_tokens: Sequence[int]) -> None: ...

# What the processor runs, as far as kernels are chosen by it.
class Processor:
    # AVX2 and FMA.
    avx2: Final[bool]
    # Dot products of bytes in one instruction.
    vnni: Final[bool]
    # The same with registers of 512 bits.
    avx512_vnni: Final[bool]

def detect_processor() -> Processor: ...

# A matrix [depth, columns] of MatMulNBits in a file of weights, in blocks of 32. Offsets are bytes;
# a zero_points_offset of -1 stands for zero points in the middle of the range.
class NativeMatrix:
    file: str
    columns: int
    depth: int
    bits: int
    data_offset: int
    scales_offset: int
    zero_points_offset: int
    def __init__(self) -> None: ...

# The matrices of a model as they are computed with, in a file that every process maps.
class SharedWeights: ...

# Maps the file and compares its checksum; None where it is missing, of other matrices or damaged.
# Raises EngineError for matrices that their files do not hold.
def find_shared_weights(path: str, matrices: Sequence[NativeMatrix]) -> SharedWeights | None: ...

# Writes the file anew, of weights that are known to be right, and maps it; None where the disk
# refuses. Raises as `find_shared_weights`.
def write_shared_weights(path: str, matrices: Sequence[NativeMatrix]) -> SharedWeights | None: ...

# A decoder-only text model in ONNX form. In the names of cache tensors, %d is the layer.
class OrtModel:
    path: str
    # The graph to run in place of the file's, serialised; empty runs the file.
    graph: bytes
    # What the nodes llmrouter.MatMulNBits of `graph` multiply with. Reading takes a copy.
    matrices: Sequence[NativeMatrix]
    # Where `matrices` lie as they are computed with; None reads them into memory of this process.
    shared_weights: SharedWeights | None
    # Whether `graph` takes the tokens of many rows side by side.
    packed: bool
    # Whether each token of a packed run is rounded as if it were alone.
    rounds_alike: bool
    # Whether a packed run keeps keys and values as float16.
    half_cache: bool
    # The GPU that computes; -1 for the processor.
    cuda_device: int
    # Bytes that ONNX Runtime may hold for the model; 0 for no limit.
    memory_limit: int
    vocabulary: int
    layers: int
    kv_heads: int
    head_size: int
    input_ids: str
    attention_mask: str
    logits: str
    past_key: str
    past_value: str
    present_key: str
    present_value: str
    def __init__(self) -> None: ...

# Lets another thread end the runs that are given it.
class RunEnding:
    def __init__(self) -> None: ...
    def end(self) -> None: ...

# A tensor that a graph takes or gives; dimensions it leaves open are -1.
class EncoderTensor:
    name: Final[str]
    shape: Final[list[int]]

# A graph from rows of whole numbers to floats; raises EngineError.
class OrtEncoder:
    inputs: Final[list[EncoderTensor]]
    outputs: Final[list[EncoderTensor]]
    def __init__(self, path: str, *, memory_limit: int) -> None: ...
    # Computes `output`, [rows, columns, width] of what it is fed, int64 [rows, columns] each.
    def run(
        self,
        output: str,
        *,
        width: int,
        feeds: Mapping[str, NDArray[np.int64]],
        ending: RunEnding,
    ) -> NDArray[np.float32]: ...

# A loaded model with its key/value cache; handed to an `Engine`, which owns it from then on.
class Decoder: ...

# A token, the natural logarithm of its probability before any sampling option, and its bytes.
class TokenLogprob:
    token: Final[int]
    logprob: Final[float]
    bytes: Final[builtins.bytes]

# One sampled token and the most likely ones in its place, in order.
class SampledLogprob:
    sampled: Final[TokenLogprob]
    top: Final[list[TokenLogprob]]

# New text of one answer; `tokens` were sampled since its previous delta, and `logprobs` tells of
# each where asked for.
class TextDelta:
    id: Final[int]
    answer: Final[int]
    text: Final[str]
    tokens: Final[int]
    logprobs: Final[list[SampledLogprob]]
    # The tokens, without one that ends the answer.
    ids: Final[list[int]]

# Seconds. `first_token` runs from submission; 0 when no token was sampled.
class Timings:
    queue: Final[float]
    prefill: Final[float]
    decode: Final[float]
    first_token: Final[float]

# The last event of an answer that ended as asked; each answer of a request has one.
class Finished:
    id: Final[int]
    answer: Final[int]
    reason: Final[FinishReason]
    stop: Final[str]
    prompt_tokens: Final[int]
    # Those of the prompt whose keys and values were known from earlier prompts.
    cached_prompt_tokens: Final[int]
    completion_tokens: Final[int]
    timings: Final[Timings]
    # With `trace`: every sampled token.
    tokens: Final[list[int]]
    # With `trace`: native float32 [tokens, vocabulary].
    logits: Final[bytes]

# An answer broke, and its request with it: cancel it, other answers may run on.
class Failed:
    id: Final[int]
    code: Final[ErrorCode]
    message: Final[str]

Event: TypeAlias = TextDelta | Finished | Failed

# Load now; `steps`, `prompt_tokens` and `completion_tokens` count since the start.
class EngineStatistics:
    running: Final[int]
    waiting: Final[int]
    # Sequences off their slots until their readers have taken what they said.
    held: Final[int]
    slots: Final[int]
    steps: Final[int]
    prompt_tokens: Final[int]
    completion_tokens: Final[int]
    # Prompt tokens that earlier prompts and answers had computed already.
    reused_tokens: Final[int]
    # Sequences that gave way to a higher class.
    preemptions: Final[int]
    # Tokens drafted and verified, and those of them that became part of an answer.
    drafted_tokens: Final[int]
    accepted_tokens: Final[int]
    # Seconds in which the engine's thread had work, and those of them that the decoder's runs took;
    # both up to the end of the same step.
    busy_seconds: Final[float]
    decoder_seconds: Final[float]
    # Mean seconds of a decoding step.
    step_seconds: Final[float]
    # Seconds that a request of normal priority which came now would wait for a slot.
    estimated_wait_seconds: Final[float]
    prefix_bytes: Final[int]
    parked_bytes: Final[int]
    cache_bytes: Final[int]

# What answers have to match, compiled for one vocabulary.
class Grammar: ...

# Compiles grammars with llguidance, opened as a shared library; callable from any thread.
#
# Raises:
# EngineError: MODEL_UNAVAILABLE when it is not the library, or not the version, that we know.
class GrammarCompiler:
    def __init__(
        self, library: str, tokens: Sequence[bytes], end_tokens: Sequence[int]
    ) -> None: ...

    # Compile `text` of the kind `json_schema`, `regex` or `lark`; releases the interpreter's lock.
    #
    # Raises:
    # EngineError: INVALID_ARGUMENT in the library's own words.
    def compile(self, kind: str, text: str) -> Grammar: ...

# Runs one model on a thread of its own, which never takes the interpreter's lock.
class Engine:
    def __init__(
        self,
        decoder: Decoder,
        vocabulary: Vocabulary,
        *,
        max_waiting: int,
        prefill_chunk: int,
        prefix_bytes: int = 0,
        parked_bytes: int = 0,
        ageing: float = 10.0,
        cache_bytes: int = 0,
        speculation_tokens: int = 0,
    ) -> None: ...
    # Readable while events wait to be drained.
    @property
    def event_fd(self) -> int: ...

    # Tokens of prompt and answer together that one sequence may hold.
    @property
    def context(self) -> int: ...

    # Tokens that all sequences together may hold; 0 for as many as the slots can.
    @property
    def positions(self) -> int: ...

    # Whether drafts leave every answer as it is, bit by bit.
    @property
    def rounds_alike(self) -> bool: ...

    # Queue a request and return its id. After `timeout` seconds it ends as DEADLINE_EXCEEDED;
    # prompts share what they have in common with earlier ones of the same scope. `top_logprobs` of
    # -1 tells no log probabilities. `answered` are tokens of the answer that another engine gave:
    # it goes on after them.
    #
    # Raises:
    # EngineError: INVALID_ARGUMENT, CONTEXT_TOO_LONG, QUEUE_FULL or STOPPED.
    def submit(
        self,
        prompt: Sequence[int],
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        max_tokens: int,
        stop: Sequence[str],
        priority: Priority = ...,
        timeout: float | None = None,
        scope: int = 0,
        trace: bool = False,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Sequence[tuple[int, float]] = (),
        min_tokens: int = 0,
        answers: int = 1,
        top_logprobs: int = -1,
        drafts: bool = True,
        grammar: Grammar | None = None,
        answered: Sequence[int] = (),
    ) -> int: ...

    # End a request before the next step; ids that are not known are ignored.
    def cancel(self, request_id: int) -> None: ...

    # Take a request off its slot before the next step, until `resume`; several answers run on.
    def hold(self, request_id: int) -> None: ...
    def resume(self, request_id: int) -> None: ...

    # Free kept prefixes before the next step, the least recently used first, down to `keep_bytes`.
    def forget_prefixes(self, keep_bytes: int) -> None: ...

    # Take all events published so far.
    def drain(self) -> list[Event]: ...
    def statistics(self) -> EngineStatistics: ...

    # Seconds that a request which came now would wait for the slots of its answers.
    def estimated_wait(self, priority: Priority, answers: int) -> float: ...
    # Keep the next steps, `most` at most, until they are taken.
    def trace(self, most: int) -> None: ...
    # End that, and hand the steps over in order.
    def take_trace(self) -> list[StepRecord]: ...
    # Cancel everything, end the thread and free the model; safe to call twice.
    def stop(self) -> None: ...

# One step that ran the decoder. Times are seconds of the monotonic clock.
class StepRecord:
    @property
    def begin(self) -> float: ...
    @property
    def planned(self) -> float: ...
    @property
    def computed(self) -> float: ...
    @property
    def end(self) -> float: ...
    # Rows that decoded, tokens of prompts, and tokens that were drafted.
    @property
    def decoding(self) -> int: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def drafted(self) -> int: ...

# Open ONNX Runtime with one pool of `threads` for all models; return its version.
#
# The first call of a process decides; later ones must name the same library.
#
# Raises:
# EngineError: MODEL_UNAVAILABLE.
def load_onnx_runtime(library: str, threads: int) -> str: ...

# What the opened library can compute on, by ONNX Runtime's names.
#
# Raises: EngineError (MODEL_UNAVAILABLE) before the library is opened.
def available_providers() -> list[str]: ...

# Load a model with a cache of `slots` sequences of `context` tokens.
#
# Raises:
# EngineError: MODEL_UNAVAILABLE, naming what the file lacks.
def load_ort_decoder(model: OrtModel, *, slots: int, context: int) -> Decoder: ...

# Turns the bytes of tokens into whole characters and matches stop strings.
class TextStream:
    def __init__(self, stops: Sequence[str]) -> None: ...
    # Take the bytes of one token; return the text that became final.
    def push(self, data: bytes) -> str: ...
    # End the text; return what was held back.
    def finish(self) -> str: ...
    @property
    def stopped(self) -> bool: ...
    # The stop string that matched, or empty.
    @property
    def matched(self) -> str: ...

# Load now; the others count since the batcher was made.
class BatcherStatistics:
    waiting: Final[int]
    running: Final[int]
    batches: Final[int]
    requests: Final[int]
    tokens: Final[int]
    # Tokens and padding.
    positions: Final[int]
    completion_tokens: Final[int]
    expired: Final[int]
    batch_seconds: Final[float]
    estimated_wait_seconds: Final[float]

# Groups whole requests by window, size and length. Every request has exactly one last event.
#
# Raises:
# EngineError: INVALID_ARGUMENT.
class SequenceBatcher:
    def __init__(
        self,
        *,
        max_waiting: int,
        max_batch: int,
        max_positions: int,
        max_padding: float,
        window: float,
        ageing: float = 10.0,
    ) -> None: ...
    # Readable while events wait to be drained.
    @property
    def event_fd(self) -> int: ...
    @property
    def stopped(self) -> bool: ...

    # Queue a request of `length` tokens and return its id; `timeout` in seconds. Only requests of
    # the same `kind`, any 64-bit number, share a batch.
    #
    # Raises:
    # EngineError: INVALID_ARGUMENT, QUEUE_FULL or STOPPED.
    def submit(
        self,
        length: int,
        *,
        priority: Priority = ...,
        timeout: float | None = None,
        kind: int = 0,
    ) -> int: ...

    # Requests that may still be queued now.
    def room(self) -> int: ...

    # End a request, waiting or running; ids that are not known are ignored.
    def cancel(self, request_id: int) -> None: ...

    # Wait at most `patience` seconds for a batch; empty when none came, or once stopped.
    def take(self, patience: float) -> list[int]: ...

    # Whether a request taken is worth computing: not ended, not cancelled, in time.
    def wanted(self, request_id: int) -> bool: ...

    # Send text of a running request; tokens without text count with the next text.
    def publish(self, request_id: int, text: str, tokens: int) -> None: ...

    # End a running request; one that has ended is ignored.
    def finish(
        self,
        request_id: int,
        reason: FinishReason,
        stop: str = "",
        completion_tokens: int = 0,
    ) -> None: ...
    def fail(self, request_id: int, code: ErrorCode, message: str) -> None: ...

    # Take all events published so far.
    def drain(self) -> list[Event]: ...
    def statistics(self) -> BatcherStatistics: ...
    # Cancel everything and wake who waits in `take`; safe to call twice.
    def stop(self) -> None: ...
