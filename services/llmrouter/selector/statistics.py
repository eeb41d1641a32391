"""What has been observed of each model version: decayed means in bounded memory.

Time is passed in as seconds of any monotonic clock, so that tests need no waiting.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

__all__ = ["PRIORS", "DecayedMean", "ModelStatistics", "Observation", "Priors", "StatisticsBook"]

_FIXED_PROMPT_TOKENS = 64
"""The part of the time to first token that every prompt pays, as tokens of prefill."""


@dataclass(frozen=True, slots=True)
class Priors:
    """What is believed before anything was observed, and again when evidence has faded."""

    time_to_first_token: float = 0.2
    """Seconds, of a prompt of `prompt_tokens`."""
    prompt_tokens: int = 50
    seconds_per_token: float = 0.02
    error_rate: float = 0.0
    weight: float = 2.0
    """Observations that the belief counts for."""

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


@dataclass(frozen=True, slots=True)
class Observation:
    """How one attempt went; None where nothing was measured."""

    failed: bool = False
    """By the model's fault."""
    counts: bool = True
    """Whether it says anything about failing; False for faults of the caller."""
    time_to_first_token: float | None = None
    """Seconds."""
    seconds_per_token: float | None = None
    prompt_tokens: int = 0
    """As the model counted them, its chat template included; 0 when it did not get so far."""


class DecayedMean:
    """A mean in which an observation counts half after each half-life."""

    def __init__(self, half_life: float) -> None:
        self._half_life = half_life
        self._sum = 0.0
        self._weight = 0.0
        self._at = -math.inf

    def _fade(self, now: float) -> float:
        """Return what is left of the evidence; a clock that stands still fades nothing."""
        return math.exp2(-max(0.0, now - self._at) / self._half_life)

    def add(self, value: float, now: float) -> None:
        """Take in one observation made at `now` (seconds)."""
        fade = self._fade(now)
        self._sum = self._sum * fade + value
        self._weight = self._weight * fade + 1.0
        self._at = max(self._at, now)

    def observed(self) -> float | None:
        """Return the mean of the evidence alone; None before the first observation."""
        return self._sum / self._weight if self._weight > 0 else None

    def believed(self, now: float, prior: float, prior_weight: float) -> float:
        """Return the mean drawn towards `prior`, the more so the older the evidence."""
        fade = self._fade(now)
        total = self._weight * fade + prior_weight
        return (self._sum * fade + prior * prior_weight) / total


class ModelStatistics:
    """Observations of one version of one model."""

    def __init__(self, half_life: float) -> None:
        self.attempts = 0
        self.failures = 0
        self._errors = DecayedMean(half_life)
        self._first = DecayedMean(half_life)
        self._prefill = DecayedMean(half_life)
        self._per_token = DecayedMean(half_life)

    def observe(self, outcome: Observation, now: float) -> None:
        """Take in how one attempt that ended at `now` (seconds) went."""
        self.attempts += 1
        if outcome.counts:
            self.failures += outcome.failed
            self._errors.add(float(outcome.failed), now)
        first, prompt = outcome.time_to_first_token, outcome.prompt_tokens
        for mean, value in (
            (self._first, first),
            (self._prefill, first / (prompt + _FIXED_PROMPT_TOKENS) if first and prompt else None),
            (self._per_token, outcome.seconds_per_token),
        ):
            if value is not None and math.isfinite(value) and value > 0:
                mean.add(value, now)

    def error_rate(self, now: float) -> float:
        """Return the believed share of failures, 0 to 1."""
        return self._errors.believed(now, PRIORS.error_rate, PRIORS.weight)

    def time_to_first_token(self, now: float, prompt_tokens: int, priors: Priors = PRIORS) -> float:
        """Return the believed time to the first token of such a prompt in seconds.

        It grows with the prompt, so that long prompts do not make a model look slow to short ones.

        Args:
            now: Seconds of the clock of the observations.
            prompt_tokens: Length of the prompt.
            priors: What is believed of it where it will run.
        """
        prior = priors.time_to_first_token / (priors.prompt_tokens + _FIXED_PROMPT_TOKENS)
        per_token = self._prefill.believed(now, prior, priors.weight)
        return per_token * (prompt_tokens + _FIXED_PROMPT_TOKENS)

    def seconds_per_token(self, now: float, priors: Priors = PRIORS) -> float:
        """Return the believed time between two tokens in seconds; `priors` as above."""
        return self._per_token.believed(now, priors.seconds_per_token, priors.weight)

    def observed_time_to_first_token(self) -> float | None:
        """Return the measured mean in seconds; None before the first observation."""
        return self._first.observed()

    def observed_tokens_per_second(self) -> float:
        """Return the measured rate; 0 before the first observation."""
        per_token = self._per_token.observed()
        return 1 / per_token if per_token else 0.0


class StatisticsBook:
    """Statistics of the model versions seen last; the longest unseen one is forgotten first."""

    def __init__(self, half_life: float, max_models: int = 1024) -> None:
        self._half_life = half_life
        self._max_models = max_models
        self._unseen = ModelStatistics(half_life)
        self._models: OrderedDict[tuple[str, str], ModelStatistics] = OrderedDict()

    def of(self, model: str, version: str) -> ModelStatistics:
        """Return the statistics of a version, to be read only; empty if it was never observed."""
        return self._models.get((model, version), self._unseen)

    def observe(self, model: str, version: str, outcome: Observation, now: float) -> None:
        """Take in how one attempt on a version went."""
        statistics = self._models.setdefault((model, version), ModelStatistics(self._half_life))
        statistics.observe(outcome, now)
        self._models.move_to_end((model, version))
        while len(self._models) > self._max_models:
            self._models.popitem(last=False)

    def __len__(self) -> int:
        return len(self._models)
