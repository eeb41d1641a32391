"""What has been observed of each model version and each of its endpoints, in bounded memory.

Time is passed in as seconds of any monotonic clock, so that tests need no waiting.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from llmrouter.common.generation import Usage
from llmrouter.selector.evidence import Array, EvidenceTable, Key, Measure, prior_belief
from llmrouter.selector.recent import RecentCounts
from llmrouter.selector.sketch import TimeSketch
from llmrouter.selector.tokenizer_book import BYTES_PER_TOKEN

__all__ = ["PRIORS", "Observation", "Priors", "Seen", "StatisticsBook", "prefill_pace"]

_FIXED_PROMPT_TOKENS = 64
"""The part of the time to first token that every prompt pays, as tokens of prefill."""
_LONGEST_SECONDS = 86_400.0
_OUTLIER = 30.0
"""How many times what is believed a time may be reported to be; a longer one counts as that. So no
single report keeps a model away, and a model that has become that slow is known to soon: each such
report lets the next say more."""


@dataclass(frozen=True, slots=True)
class Priors:
    """What is believed before anything was observed, and again when evidence has faded."""

    time_to_first_token: float = 0.2
    """Seconds, of a prompt of `prompt_tokens`."""
    prompt_tokens: int = 50
    seconds_per_token: float = 0.02
    error_rate: float = 0.0

    @classmethod
    def measured(cls, prefill_rate: float, decode_rate: float) -> Priors:
        """Return what is believed of a model that was measured where it runs.

        Args:
            prefill_rate: Prompt tokens per second.
            decode_rate: Generated tokens per second of one answer.
        """
        if not (0 < prefill_rate < math.inf and 0 < decode_rate < math.inf):
            return PRIORS
        first = (PRIORS.prompt_tokens + _FIXED_PROMPT_TOKENS) / prefill_rate
        return cls(time_to_first_token=first, seconds_per_token=1 / decode_rate)


PRIORS = Priors()


def prefill_pace(seconds: float, prompt_tokens: float) -> float:
    """Return a time to first token per prompt token: long prompts make no model look slow."""
    return seconds / (prompt_tokens + _FIXED_PROMPT_TOKENS)


_PRIOR: Array = np.array(
    [
        PRIORS.error_rate,
        prefill_pace(PRIORS.time_to_first_token, PRIORS.prompt_tokens),
        PRIORS.seconds_per_token,
    ]
)


@dataclass(frozen=True, slots=True)
class Observation:
    """How one attempt went; None where nothing was measured."""

    error_reason: str = ""
    """Empty when it answered."""
    failed: bool = False
    """By the model's fault."""
    counts: bool = True
    """Whether it says anything about failing; False for faults of the caller."""
    time_to_first_token: float | None = None
    """Seconds, waiting for a slot included."""
    seconds_per_token: float | None = None
    queue_seconds: float | None = None
    """Waiting for a slot."""
    waited: float | None = None
    """Seconds that someone waited in vain for a first token before giving up."""
    usage: Usage | None = None
    """As the model counted, its chat template included; None when it did not get so far."""
    prompt_bytes: int = 0
    """UTF-8 bytes that the caller sent."""
    cost: float = 0.0
    """US dollars."""

    def costing(self, cost: float) -> Observation:
        """Return the same with its cost in US dollars."""
        return replace(self, cost=cost)


@dataclass(slots=True)
class Seen:
    """What one key has seen since start, and its percentiles."""

    first: TimeSketch
    per_token: TimeSketch
    queue: TimeSketch
    attempts: int = 0
    failures: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    recent: RecentCounts = field(default_factory=RecentCounts)

    @classmethod
    def none(cls, half_life: float) -> Seen:
        """Return what was seen before the first attempt."""
        return cls(TimeSketch(half_life), TimeSketch(half_life), TimeSketch(half_life))

    def take(self, outcome: Observation, now: float) -> None:
        """Take in how one attempt went."""
        self.attempts += 1
        self.failures += outcome.failed
        if outcome.error_reason:
            self.errors[outcome.error_reason] += 1
        usage = outcome.usage or Usage()
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        self.cost += outcome.cost
        counts = (1.0, float(outcome.failed), float(usage.completion_tokens), outcome.cost)
        self.recent.add(counts, now)
        for sketch, value in (
            (self.first, outcome.time_to_first_token),
            (self.per_token, outcome.seconds_per_token),
            (self.queue, outcome.queue_seconds),
        ):
            if value is not None and 0 <= value <= _LONGEST_SECONDS:
                sketch.add(value, now)


class StatisticsBook:
    """Statistics of the versions and endpoints seen last; the longest unseen is forgotten first."""

    def __init__(self, half_life: float, most: int = 16_384) -> None:
        """Make an empty book.

        Args:
            half_life: Seconds after which an observation counts half.
            most: Versions and endpoints remembered, together.
        """
        self._half_life = half_life
        self.evidence = EvidenceTable(half_life, most)
        """For choices: decayed means by row."""
        self._seen: dict[Key, Seen] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def observe(
        self,
        endpoint: Key,
        outcome: Observation,
        now: float,
        bytes_per_token: float = BYTES_PER_TOKEN,
        prior: Array = _PRIOR,
    ) -> None:
        """Take in how one attempt went on an endpoint.

        Args:
            endpoint: Where it was made.
            outcome: How it went.
            now: When it ended, in seconds.
            bytes_per_token: What is believed of prompts there that nobody counted.
            prior: Of each measure, what is believed of the version before anything was observed.
        """
        model, version, _ = endpoint
        believed = self._believed((model, version, ""), now, prior)
        slowest, per_token = (
            _OUTLIER * float(believed[one]) for one in (Measure.PREFILL, Measure.PER_TOKEN)
        )
        outcome = _plausible(outcome, slowest, per_token, bytes_per_token)
        measured = _measured(outcome, slowest)
        in_vain = _in_vain(outcome, slowest, bytes_per_token)
        for key in ((model, version, ""), endpoint):
            values = self._at_least(key, in_vain, now, prior) or measured
            lost = self.evidence.add(key, values, now)
            if lost is not None:
                del self._seen[lost]
            seen = self._seen.get(key)
            if seen is None:
                seen = self._seen[key] = Seen.none(self._half_life)
            seen.take(outcome, now)

    def _at_least(
        self, key: Key, pace: float | None, now: float, prior: Array
    ) -> tuple[float | None, ...] | None:
        """Return what waiting in vain says: no better pace than that, where one is believed.

        So a model that hangs comes to look as slow as it is, though nobody says that it failed.
        """
        if pace is None:
            return None
        believed = float(self._believed(key, now, prior)[Measure.PREFILL])
        return (None, pace, None) if pace > believed else None

    def seen(self, key: Key) -> Seen | None:
        """Return what a version (without address) or endpoint has seen; to be read only."""
        return self._seen.get(key)

    def error_rate(self, key: Key, now: float) -> float:
        """Return the believed share of failures, 0 to 1."""
        return float(self._believed(key, now, _PRIOR)[Measure.ERROR])

    def _believed(self, key: Key, now: float, prior: Array) -> Array:
        """Return the mean of each measure, drawn towards its prior."""
        evidence = self.evidence.read(np.array([self.evidence.row(key)]), now)
        believed: Array = evidence.believed(prior_belief(prior[:, np.newaxis]))[:, 0]
        return believed


def _plausible(
    outcome: Observation, slowest: float, per_token: float, bytes_per_token: float
) -> Observation:
    """Return an outcome none of whose times is an outlier beyond all measure.

    Args:
        outcome: As it was told.
        slowest: Seconds to the first token per prompt token, at most.
        per_token: Seconds per generated token, at most.
        bytes_per_token: Of prompts that nobody counted.
    """
    prompt = (outcome.usage or Usage()).prompt_tokens or outcome.prompt_bytes / bytes_per_token
    longest = slowest / prefill_pace(1.0, prompt)
    queued = min(outcome.queue_seconds or 0.0, _LONGEST_SECONDS)
    return replace(
        outcome,
        time_to_first_token=_at_most(longest + max(0.0, queued), outcome.time_to_first_token),
        seconds_per_token=_at_most(per_token, outcome.seconds_per_token),
    )


def _at_most(bound: float, value: float | None) -> float | None:
    """Return a time, or its bound; what is no time is left to whoever refuses it."""
    return bound if value is not None and bound < value < math.inf else value


def _measured(outcome: Observation, slowest: float) -> tuple[float | None, ...]:
    """Return the values of the measures; what has no meaning is none.

    A time that was all waiting for a slot says nothing of the pace; what is left of any other is
    held to `slowest` (seconds per prompt token), however long the wait was.
    """
    usage = outcome.usage or Usage()
    prompt, first = usage.prompt_tokens, _positive(outcome.time_to_first_token)
    pace = None
    if first is not None and prompt:
        computing = _positive(first - (_positive(outcome.queue_seconds) or 0.0))
        pace = None if computing is None else min(slowest, prefill_pace(computing, prompt))
    return (
        float(outcome.failed) if outcome.counts else None,
        pace,
        _positive(outcome.seconds_per_token),
    )


def _in_vain(outcome: Observation, slowest: float, bytes_per_token: float) -> float | None:
    """Return the pace that somebody waited for in vain, `slowest` at most; None if nobody did."""
    waited = _positive(outcome.waited)
    if waited is None:
        return None
    return min(slowest, prefill_pace(waited, outcome.prompt_bytes / bytes_per_token))


def _positive(value: float | None) -> float | None:
    if value is None or not math.isfinite(value) or value <= 0:
        return None
    return min(value, _LONGEST_SECONDS)
