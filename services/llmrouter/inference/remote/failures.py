"""What a provider's refusal means here. Its words are told in short; a key is never among them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from llmrouter.common.errors import Reason, RouterError

__all__ = ["refusal", "wait_told"]

_MAX_WORDS = 300
_MAX_WAIT = 3600.0
_LONGEST_CODES = ("context_length_exceeded", "prompt is too long", "maximum context length")
_REASONS = {
    400: Reason.UNSUPPORTED_OPTION,
    401: Reason.MODEL_UNAVAILABLE,
    402: Reason.MODEL_UNAVAILABLE,
    403: Reason.MODEL_UNAVAILABLE,
    404: Reason.MODEL_UNAVAILABLE,
    413: Reason.CONTEXT_TOO_LONG,
    422: Reason.UNSUPPORTED_OPTION,
    429: Reason.QUEUE_FULL,
}
"""By HTTP status; all others mean that the provider is in trouble: another model may answer."""
_WORDS = {
    401: "refuses our key",
    402: "wants to be paid",
    403: "refuses our key",
    404: "does not know the model",
    429: "has no room for us now",
}


_KEYLESS = {401: "wants a key, and none is", 403: "refuses us, and no key is"}
_HOW = (
    "configured: api_key_variable or api_key_file of this provider in inference.providers names it"
)


def refusal(
    provider: str, status: int, headers: Mapping[str, str], body: bytes, key: str
) -> RouterError:
    """Return the error for a response that is no answer.

    Args:
        provider: Its name.
        status: Of HTTP.
        headers: Of the response.
        body: Its beginning.
        key: The key that was sent, empty for none: a provider that repeats it must not make us
            tell it.
    """
    said = _said(body)
    if key:
        said = said.replace(key, "…")
    reason = _REASONS.get(status, Reason.UPSTREAM_UNAVAILABLE)
    if status == 400 and any(code in said or code.encode() in body for code in _LONGEST_CODES):
        reason = Reason.CONTEXT_TOO_LONG
    words = _WORDS.get(status, f"answered with HTTP status {status}")
    if status in _KEYLESS and not key:
        words = f"{_KEYLESS[status]} {_HOW}"
    told = f": {said}" if said and status not in _KEYLESS else ""
    return RouterError(
        reason,
        f"{provider} {words}{told}",
        metadata={"provider": provider, "http_status": str(status)},
        retry_after=wait_told(headers) if status in (429, 503, 529) else None,
    )


def wait_told(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the provider asks us to stay away; None where it does not say."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:  # A date: that of another machine's clock.
            continue
        if 0 <= seconds <= _MAX_WAIT:
            return seconds
    return None


def _said(body: bytes) -> str:
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    error = told.get("error") if isinstance(told, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(said).split())[:_MAX_WORDS] if said else ""
