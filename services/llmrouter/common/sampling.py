"""How tokens are drawn, and what an answer has to match."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["FormatKind", "ResponseFormat", "SamplingOptions"]


class FormatKind(StrEnum):
    """How a response format is written; the values are the names of its fields in the proto."""

    JSON_OBJECT = "json_object"
    """Any JSON object; without text."""
    JSON_SCHEMA = "json_schema"
    """A JSON Schema, as JSON text."""
    REGEX = "regex"
    """A regular expression in the syntax of Rust's `regex`."""
    GRAMMAR = "grammar"
    """A context-free grammar in llguidance's dialect of Lark."""


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """What an answer has to match as a whole; it ends only where it does."""

    kind: FormatKind
    text: str = ""
    """The schema, expression or grammar; 1 byte to 64 KiB."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are drawn. `None` leaves the choice to the engine's default."""

    temperature: float = 1.0
    """0 picks the most likely token (greedy); bounds 0 to 2."""
    top_k: int = 0
    """Draws from the k most likely tokens; 0 means all of them."""
    top_p: float = 1.0
    """Draws from the smallest set with this probability mass; bounds over 0 to 1."""
    seed: int | None = None
    """Makes a draw repeatable whoever shares the batch; None draws a fresh seed."""
    max_tokens: int | None = None
    """Tokens to generate at most; None means up to the context, capped by the service."""
    stop: tuple[str, ...] = ()
    """Strings that end the answer; they are not part of it."""
    min_p: float = 0.0
    """Drops tokens less likely than this share of the most likely one; 0 drops none; to 1."""
    repetition_penalty: float = 1.0
    """Makes tokens of prompt and answer less likely (CTRL); 1 is off; bounds 0.01 to 10."""
    presence_penalty: float = 0.0
    """Taken off the logits of tokens that the answer has; bounds -2 to 2."""
    frequency_penalty: float = 0.0
    """Taken off the logits of tokens for each time the answer has them; bounds -2 to 2."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token ids and what is added to their logits, -100 to 100; sorted, each id once."""
    min_tokens: int = 0
    """Tokens before which neither the model nor a stop string ends the answer."""
    n: int = 1
    """Answers to one prompt; bounds 1 to 16."""
    logprobs: bool = False
    """Whether deltas tell how likely each token was."""
    top_logprobs: int = 0
    """Most likely tokens told beside each; bounds 0 to 20; needs `logprobs`."""
    response_format: ResponseFormat | None = None
    """What the answer has to match; None leaves it free."""

    @property
    def deterministic(self) -> bool:
        """Whether the same request gives the same answer again."""
        return self.temperature == 0 or self.seed is not None
