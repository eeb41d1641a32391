"""The domain of one generation: what is asked, and the events that answer it.

Plain values without gRPC. `wire_*.py` convert them from and to the protos of the same names;
the bounds stand beside each field in the protos and are checked by `validation.py`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from llmrouter.common.bill import Bill
from llmrouter.common.cache_wishes import CacheLevel, CacheMode, CacheStatus, CacheWishes
from llmrouter.common.continuation import Switched, Switching
from llmrouter.common.ensemble import EnsembleWish
from llmrouter.common.logprobs import TokenLogprob, TopLogprob
from llmrouter.common.sampling import FormatKind, ResponseFormat, SamplingOptions
from llmrouter.common.text_bytes import text_bytes
from llmrouter.common.tools import ToolCall, ToolCallPiece, ToolWishes
from llmrouter.common.truncation import Adjustment, Truncation
from llmrouter.common.usage import Usage

__all__ = [
    "Attempt",
    "CacheLevel",
    "CacheMode",
    "CacheStatus",
    "CacheWishes",
    "ChoiceFinished",
    "Delta",
    "FinishReason",
    "Finished",
    "FormatKind",
    "GenerationEvent",
    "GenerationRequest",
    "Generator",
    "Message",
    "Priority",
    "RequestContext",
    "ResponseFormat",
    "Role",
    "RoutingWishes",
    "SamplingOptions",
    "Started",
    "Timings",
    "TokenLogprob",
    "TopLogprob",
    "Usage",
]


class Role(StrEnum):
    """Who speaks in a chat message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """What a tool gave."""


class Priority(StrEnum):
    """How urgent a request is: as the caller says, and the gateway allows."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class FinishReason(StrEnum):
    """Why a choice ended."""

    STOP = "stop"
    """The model ended its turn, or a stop string matched."""
    LENGTH = "length"
    """`max_tokens` or the context was used up."""
    CANCELLED = "cancelled"
    TOOL_CALLS = "tool_calls"
    """The model waits for what tools give."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; text parts in order."""

    role: Role
    parts: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    """What an earlier turn of the model's asked for."""
    tool_call_id: str = ""
    """The call that a tool's turn answers."""

    @property
    def text(self) -> str:
        """All parts as one string, nothing between them."""
        return "".join(self.parts)


@dataclass(frozen=True, slots=True)
class RoutingWishes:
    """What a caller asks of the selector."""

    model: str = ""
    """A name, `name@version` or alias; empty lets the selector choose."""
    strategy: str = ""
    """A registered strategy; empty takes the configured default."""
    min_quality: float = 0.0
    """Lowest acceptable quality in [0, 1]."""
    max_cost: float = 0.0
    """Highest acceptable cost of this request in US dollars; 0 sets no ceiling."""
    tags: tuple[str, ...] = ()
    """Tags that the model must carry."""
    max_latency: float = 0.0
    """Highest acceptable seconds to the complete answer; 0 sets no ceiling."""
    max_time_to_first_token: float = 0.0
    """Highest acceptable seconds to the first token; 0 sets no ceiling."""
    session: str = ""
    """Names a conversation whose requests stay on one version during a rollout."""
    no_exploration: bool = False
    """Whether the request never goes to a model only to learn about it."""
    min_confidence: float = 0.0
    """What an answer of a cascade needs lest the next model is asked, to 1; 0 takes the default."""
    ensemble: EnsembleWish | None = None
    """Several models to be asked at once; None asks one."""
    switching: Switching = Switching.ANY
    """Who may go on with the answer should it break off."""
    truncation: Truncation = Truncation.OFF
    """What becomes of a chat that fits no context."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One question: chat messages or a raw prompt, never both."""

    messages: tuple[Message, ...] = ()
    prompt: str = ""
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    routing: RoutingWishes = field(default_factory=RoutingWishes)
    cache: CacheWishes = field(default_factory=CacheWishes)
    priority: Priority = Priority.NORMAL
    tools: ToolWishes | None = None
    """Tools that the model may ask for; None has none."""
    fingerprints: dict[tuple[str, frozenset[str]], bytes] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What `question_key` gave, by tenant and models: several links ask for it."""

    @property
    def prompt_bytes(self) -> int:
        """Size by `text_bytes` of everything the model is to read, templates not counted."""
        turns = sum(text_bytes(part) for turn in self.messages for part in turn.parts)
        calls = (call for turn in self.messages for call in turn.tool_calls)
        told = sum(text_bytes(call.name) + text_bytes(call.arguments) for call in calls)
        tools = () if self.tools is None else self.tools.texts
        return turns + told + sum(map(text_bytes, tools)) + text_bytes(self.prompt)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who asks, as only the gateway may say it. Travels with every call between services."""

    request_id: str
    tenant: str = "default"
    user: str = ""
    priority: Priority = Priority.NORMAL
    deadline: float | None = field(default=None, compare=False)
    """When the caller gives up, on `time.monotonic`'s clock. It travels as gRPC's own deadline."""
    models: frozenset[str] = frozenset()
    """Models and aliases that the caller may use; empty means all. Only the selector is told."""
    credential: str = ""
    """What proved who asks, such as `key 0123456789ab`; it never leaves the gateway."""
    endpoint: str = ""
    """What is asked for: `generate` or `embed`; likewise."""
    bill: Bill | None = field(default=None, compare=False)
    """Takes in what the request uses; likewise. None where nobody pays."""

    def remaining(self) -> float | None:
        """Return the seconds left until the deadline; None when there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


@dataclass(frozen=True, slots=True)
class Started:
    """The answer is about to come: first event of every stream."""

    request_id: str
    model: str
    version: str
    reason: str
    """One sentence for people: why this model."""
    cache: CacheStatus = CacheStatus.BYPASSED
    plan_id: str = ""
    prompt_tokens: int = 0
    """As the model counted them; 0 where it did not say."""
    cached: CacheLevel | None = None
    """Where a cached answer was found; None for others."""
    similarity: float = 0.0
    """How similar the question was whose answer this is; 0 for others."""
    dropped_messages: int = 0
    """Messages of the eldest turns that were left out so that the rest fits."""


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of one choice; always whole UTF-8 characters."""

    choice: int
    text: str
    tokens: int
    """Tokens this text stands for; may be 0 when held-back text is released."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each of those tokens, where the request asks."""
    token_ids: tuple[int, ...] = field(default=(), compare=False)
    """What they are, from inference to the gateway; callers are not told."""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    """New text of calls of tools."""


@dataclass(frozen=True, slots=True)
class ChoiceFinished:
    """One choice is complete; exactly once per choice."""

    choice: int
    reason: FinishReason
    stop: str = ""
    """The stop string that matched, if one did."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, in seconds, by the engine's own clock.

    For a cached answer: where it went when it was generated.
    """

    queue: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    time_to_first_token: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One model tried for a request; an empty reason means it answered."""

    model: str
    version: str
    address: str
    duration: float
    """Seconds from dialling to its end."""
    error_reason: str = ""
    error_message: str = ""
    usage: Usage | None = None
    """What was counted, of one that broke off or was set aside until then; None when it failed
    before it sent anything."""
    cost: float = 0.0
    """US dollars of what was counted."""
    confidence: float | None = None
    """How sure it was of its answer, 0 to 1; None where nobody asked."""
    set_aside: str = ""
    """Why its answer was not given although nothing was wrong with it; one phrase."""
    adjustment: Adjustment | None = None
    """How what it was asked differs from what the caller asked; None where it does not."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The stream is complete; last event of every successful stream."""

    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    attempts: tuple[Attempt, ...] = ()
    cost: float = 0.0
    """US dollars of all attempts together."""


GenerationEvent = Started | Delta | ChoiceFinished | Finished | Switched


class Generator(Protocol):
    """The one interface of the gateway's chain; every link implements it and wraps the next."""

    def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Answer `request` as a stream of events.

        Raises:
            RouterError: The request was refused or failed; nothing follows.
        """
        ...
