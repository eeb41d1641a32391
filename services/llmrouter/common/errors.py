"""Every way a request can fail, as values: reason, gRPC status name and retry rule by table.

The reasons are those of `protos/llmrouter/v1/errors.proto`; a house test keeps the two equal.
`wire_errors.py` turns a `RouterError` into google.rpc.Status and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmrouter.common.generation import Attempt

__all__ = [
    "DOMAIN",
    "RULES",
    "FieldViolation",
    "QuotaViolation",
    "Reason",
    "Retry",
    "RouterError",
    "Rule",
    "context_too_long",
    "invalid",
    "unauthenticated",
]

DOMAIN = "llmrouter"
"""The `domain` of every ErrorInfo."""


class Retry(StrEnum):
    """Whether sending the same request again can help."""

    NEVER = "never"
    """The request itself is wrong."""
    OTHER_MODEL = "other-model"
    """Not on this model; another one may answer."""
    SAME = "same"
    """After a pause, the same call may succeed."""


class Reason(StrEnum):
    """Machine-readable cause of a failure (ErrorInfo.reason)."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNKNOWN_MODEL = "UNKNOWN_MODEL"
    UNKNOWN_STRATEGY = "UNKNOWN_STRATEGY"
    CONTEXT_TOO_LONG = "CONTEXT_TOO_LONG"
    NO_CANDIDATE = "NO_CANDIDATE"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    QUEUE_FULL = "QUEUE_FULL"
    SLOW_READER = "SLOW_READER"
    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    DRAINING = "DRAINING"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    ENTRY_TOO_LARGE = "ENTRY_TOO_LARGE"
    STORE_FAILED = "STORE_FAILED"
    GENERATION_FAILED = "GENERATION_FAILED"
    INTERNAL = "INTERNAL"
    UNSUPPORTED_OPTION = "UNSUPPORTED_OPTION"
    ANSWER_BROKEN_OFF = "ANSWER_BROKEN_OFF"
    MEMORY_PRESSURE = "MEMORY_PRESSURE"
    UNKNOWN_PLAN = "UNKNOWN_PLAN"
    ROLLOUT_CONFLICT = "ROLLOUT_CONFLICT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RATE_LIMITED = "RATE_LIMITED"
    QUOTA_EXHAUSTED = "QUOTA_EXHAUSTED"
    CONTENT_BLOCKED = "CONTENT_BLOCKED"


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a reason."""

    status: str
    """Name of the gRPC status code."""
    retry: Retry


RULES: Mapping[Reason, Rule] = {
    Reason.INVALID_ARGUMENT: Rule("INVALID_ARGUMENT", Retry.NEVER),
    Reason.UNKNOWN_MODEL: Rule("NOT_FOUND", Retry.NEVER),
    Reason.UNKNOWN_STRATEGY: Rule("INVALID_ARGUMENT", Retry.NEVER),
    Reason.CONTEXT_TOO_LONG: Rule("INVALID_ARGUMENT", Retry.OTHER_MODEL),
    Reason.NO_CANDIDATE: Rule("FAILED_PRECONDITION", Retry.NEVER),
    Reason.MODEL_UNAVAILABLE: Rule("UNAVAILABLE", Retry.OTHER_MODEL),
    Reason.QUEUE_FULL: Rule("RESOURCE_EXHAUSTED", Retry.SAME),
    Reason.SLOW_READER: Rule("RESOURCE_EXHAUSTED", Retry.NEVER),
    Reason.UPSTREAM_UNAVAILABLE: Rule("UNAVAILABLE", Retry.OTHER_MODEL),
    Reason.DRAINING: Rule("UNAVAILABLE", Retry.SAME),
    Reason.DEADLINE_EXCEEDED: Rule("DEADLINE_EXCEEDED", Retry.NEVER),
    Reason.CANCELLED: Rule("CANCELLED", Retry.NEVER),
    Reason.ENTRY_TOO_LARGE: Rule("INVALID_ARGUMENT", Retry.NEVER),
    Reason.STORE_FAILED: Rule("UNAVAILABLE", Retry.SAME),
    Reason.GENERATION_FAILED: Rule("INTERNAL", Retry.OTHER_MODEL),
    Reason.INTERNAL: Rule("INTERNAL", Retry.NEVER),
    Reason.UNSUPPORTED_OPTION: Rule("INVALID_ARGUMENT", Retry.OTHER_MODEL),
    Reason.ANSWER_BROKEN_OFF: Rule("UNAVAILABLE", Retry.SAME),
    Reason.MEMORY_PRESSURE: Rule("RESOURCE_EXHAUSTED", Retry.OTHER_MODEL),
    Reason.UNKNOWN_PLAN: Rule("NOT_FOUND", Retry.NEVER),
    Reason.ROLLOUT_CONFLICT: Rule("FAILED_PRECONDITION", Retry.NEVER),
    Reason.UNAUTHENTICATED: Rule("UNAUTHENTICATED", Retry.NEVER),
    Reason.PERMISSION_DENIED: Rule("PERMISSION_DENIED", Retry.NEVER),
    Reason.RATE_LIMITED: Rule("RESOURCE_EXHAUSTED", Retry.SAME),
    Reason.QUOTA_EXHAUSTED: Rule("RESOURCE_EXHAUSTED", Retry.OTHER_MODEL),
    Reason.CONTENT_BLOCKED: Rule("INVALID_ARGUMENT", Retry.NEVER),
}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its path as in the proto, and what is wrong with it."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class QuotaViolation:
    """One limit that has no room: whose it is, and what it is."""

    subject: str
    description: str


class RouterError(Exception):
    """A failure with a reason; the only exception services let out.

    Attributes:
        reason: The machine-readable cause.
        message: One clear sentence for people.
        metadata: Facts that help (names and numbers as strings), never prompt text or secrets.
        retry_after: Seconds to wait before trying again, when known.
        violations: The wrong fields, for bad requests.
        quotas: The limits without room, for requests beyond them.
        attempts: What was tried in vain; known in the gateway alone.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
        quotas: tuple[QuotaViolation, ...] = (),
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.attempts: tuple[Attempt, ...] = ()
        self.violations = violations
        self.quotas = quotas

    @property
    def status(self) -> str:
        """Name of the gRPC status code that carries this error."""
        return RULES[self.reason].status

    @property
    def retry(self) -> Retry:
        """Whether sending the request again can help."""
        return RULES[self.reason].retry


def invalid(field: str, description: str) -> RouterError:
    """Return the error for one wrong field: path, value and remedy in `description`."""
    return RouterError(
        Reason.INVALID_ARGUMENT,
        f"{field}: {description}",
        violations=(FieldViolation(field, description),),
    )


def context_too_long(
    tokens: int, context: int, model: str, *, at_least: bool = False
) -> RouterError:
    """Return the error CONTEXT_TOO_LONG, the same wherever it is noticed.

    Args:
        tokens: That the prompt has.
        context: Tokens of prompt and answer together that fit.
        model: The name of what cannot hold it.
        at_least: Whether it may have more: it was not cut into tokens yet.
    """
    has = "has at least" if at_least else "has"
    return RouterError(
        Reason.CONTEXT_TOO_LONG,
        f"the prompt {has} {tokens} tokens, too many for the context of {context} of {model}; "
        "shorten it, or ask a model with a longer context",
        metadata={"prompt_tokens": str(tokens), "context": str(context), "model": model},
    )


def unauthenticated(message: str) -> RouterError:
    """Return the error UNAUTHENTICATED; `message` says what is wrong with the credential."""
    return RouterError(Reason.UNAUTHENTICATED, message)
