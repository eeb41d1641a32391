"""Errors in OpenAI's form: an HTTP status, and a body that its clients turn into exceptions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from llmrouter.common.errors import FieldViolation, Reason, Retry, RouterError
from llmrouter.common.setting_errors import in_words
from llmrouter.gateway.http.fields import UNSUPPORTED

__all__ = [
    "STATUSES",
    "BodyTooLargeError",
    "about_input",
    "bad_body",
    "error_body",
    "error_headers",
    "http_status",
]

_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 422,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""HTTP's word for each gRPC status, after google.rpc.Code; 422 keeps clients from retrying."""
_TOO_LARGE = 413
STATUSES = tuple(sorted({*_STATUS.values(), _TOO_LARGE}))
"""Every status that an error can have."""
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_CODES = {
    Reason.CONTEXT_TOO_LONG: "context_length_exceeded",
    Reason.UNKNOWN_MODEL: "model_not_found",
    Reason.RATE_LIMITED: "rate_limit_exceeded",
    Reason.QUOTA_EXHAUSTED: "insufficient_quota",
    Reason.CONTENT_BLOCKED: "content_filter",
}
"""Codes that clients of OpenAI's look for; others are our reasons in small letters."""
_TEXT = re.compile(r"\btexts\[(\d+)\]")
_MAX_TOLD = 3
_WORDS = {
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "too_short": "must not be empty",
}


class BodyTooLargeError(RouterError):
    """A body has more bytes than are read; gRPC, which has a bound of its own, never sees it.

    Args:
        most: Bytes that a body may have.
    """

    def __init__(self, most: int) -> None:
        told = f"the body has more than {most} bytes (gateway.http_max_body_bytes); send less"
        super().__init__(Reason.INVALID_ARGUMENT, told)


def http_status(error: RouterError) -> int:
    """Return the HTTP status of an error."""
    return _TOO_LARGE if isinstance(error, BodyTooLargeError) else _STATUS[error.status]


def error_headers(error: RouterError) -> dict[str, str]:
    """Return when, and whether, OpenAI's clients should try again."""
    again = error.retry is Retry.SAME or error.status == "UNAVAILABLE"
    headers = {"x-should-retry": "true" if again else "false"}
    if error.status == "UNAUTHENTICATED":
        headers["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(max(1, round(error.retry_after * 1000)))
    return headers


def error_body(error: RouterError) -> dict[str, Any]:
    """Return the body: what went wrong, where, and a code for programs."""
    status = http_status(error)
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    violations = [(_as_param(one.field), one.description) for one in error.violations]
    message = error.message
    if error.reason is Reason.INVALID_ARGUMENT and violations:
        message = "; ".join(f"{name} {said}" for name, said in violations[:_MAX_TOLD])
    return {
        "error": {
            "message": message,
            "type": kind,
            "param": violations[0][0] if violations else None,
            "code": _CODES.get(error.reason, error.reason.value.lower()),
        }
    }


def bad_body(error: ValidationError) -> RouterError:
    """Return what pydantic says of a body as an error of ours, in words for callers."""
    told = error.errors(include_url=False)
    violations = tuple(FieldViolation(_path(one["loc"]), _said(one)) for one in told[:_MAX_TOLD])
    message = "; ".join(f"{one.field} {one.description}" for one in violations)
    return RouterError(Reason.INVALID_ARGUMENT, message, violations=violations)


def about_input(error: RouterError, texts: int) -> RouterError:
    """Return what was refused of embeddings by the name that texts have there.

    Args:
        error: It calls them `texts`, as the protos do.
        texts: How many were sent; of one alone there is no place to be told.
    """

    def named(found: re.Match[str]) -> str:
        return f"input[{found[1]}]" if texts > 1 else "input"

    def field(name: str) -> str:
        return "input" if name == "texts" else _TEXT.sub(named, name)

    told = RouterError(
        error.reason,
        _TEXT.sub(named, error.message),
        metadata=error.metadata,
        retry_after=error.retry_after,
        violations=tuple(
            FieldViolation(field(one.field), one.description) for one in error.violations
        ),
        quotas=error.quotas,
    )
    told.attempts = error.attempts
    return told


def _said(one: Mapping[str, Any]) -> str:
    name = str(one["loc"][-1]) if one["loc"] else ""
    if one["type"] == "extra_forbidden":
        if name in UNSUPPORTED:
            return "is not supported here; leave it out"
        return "is no field of this request"
    if one["type"] == "json_invalid":
        return f"is no JSON: {one['ctx']['error']}"
    return _WORDS.get(one["type"]) or in_words(one)


def _path(place: tuple[int | str, ...]) -> str:
    """Return `messages[0].content` for ("messages", 0, "content")."""
    path = ""
    for step in place:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path or "the body"


def _as_param(field: str) -> str:
    """Return a field of the protos by its name in this API."""
    if field == "routing.model":
        return "model"
    if field in ("tools.choice", "tools.name"):
        return "tool_choice"
    for prefix in ("sampling.", "chat.", "tools."):
        field = field.removeprefix(prefix)
    return field
