"""RouterError to google.rpc.Status and back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from llmrouter.common.errors import DOMAIN, FieldViolation, QuotaViolation, Reason, RouterError

__all__ = ["from_rpc_error", "from_status", "to_status"]

_CODES = {code.name: code for code in grpc.StatusCode}
_UNSAID = {
    grpc.StatusCode.UNAVAILABLE: Reason.UPSTREAM_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    # A call that we cancelled raises CancelledError; this status means that the peer let go of it.
    grpc.StatusCode.CANCELLED: Reason.UPSTREAM_UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.QUEUE_FULL,
    grpc.StatusCode.INVALID_ARGUMENT: Reason.INVALID_ARGUMENT,
}
_SENTENCES = {
    grpc.StatusCode.UNAVAILABLE: "does not answer",
    grpc.StatusCode.CANCELLED: "let go of the call; it is being stopped",
    grpc.StatusCode.DEADLINE_EXCEEDED: "did not finish within the time allowed",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "has no room for the call now",
    grpc.StatusCode.INVALID_ARGUMENT: "refused the call",
    grpc.StatusCode.UNIMPLEMENTED: "does not know this call; is it another version?",
}
"""What gRPC's own words mean to a caller; the words themselves are kept as a fact."""
_TOO_LARGE = "SERVER: Received message larger than max"
_MORE = "\u2026"
_MAX_MESSAGE = 1024
_MAX_FACT = 256
"""Bytes as they travel: all of a Status comes in headers, and from 8 KiB on those may be refused.
The message comes twice, once percent-encoded; facts come in a protobuf, as UTF-8."""


def to_status(error: RouterError) -> status_pb2.Status:
    """Return the Status with ErrorInfo, and those other details that apply."""
    message = _cut(error.message, _MAX_MESSAGE)
    status = status_pb2.Status(code=_CODES[error.status].value[0], message=message)
    facts = {name: _cut(value, _MAX_FACT, _utf8) for name, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=facts)
    _pack(status, info)
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(max(1, round(error.retry_after * 1000)))
        _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
    if error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(
                field=_cut(violation.field, _MAX_FACT, _utf8),
                description=_cut(violation.description, _MAX_FACT, _utf8),
            )
        _pack(status, bad)
    if error.quotas:
        failure = error_details_pb2.QuotaFailure()
        for quota in error.quotas:
            failure.violations.add(
                subject=_cut(quota.subject, _MAX_FACT),
                description=_cut(quota.description, _MAX_FACT),
            )
        _pack(status, failure)
    return status


def from_status(status: status_pb2.Status) -> RouterError | None:
    """Return the error a Status of ours carries; None for a Status of anyone else's."""
    info, retry, bad, failure = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.QuotaFailure(),
    )
    for detail in status.details:
        for target in (info, retry, bad, failure):
            if detail.Is(target.DESCRIPTOR):
                detail.Unpack(target)
    if info.domain != DOMAIN or info.reason not in Reason.__members__:
        return None
    seconds = retry.retry_delay.ToTimedelta().total_seconds()
    return RouterError(
        Reason(info.reason),
        status.message,
        metadata=dict(info.metadata),
        retry_after=seconds or None,
        violations=tuple(FieldViolation(v.field, v.description) for v in bad.field_violations),
        quotas=tuple(QuotaViolation(v.subject, v.description) for v in failure.violations),
    )


def from_rpc_error(error: aio.AioRpcError, service: str) -> RouterError:
    """Return what a failed call to `service` means here.

    A status of ours passes through; anything else is told as the nearest reason, so that a
    caller never meets a bare transport error.
    """
    try:
        status = rpc_status.from_call(error)
        known = from_status(status) if status is not None else None
    except (ValueError, DecodeError):
        known = None  # details that contradict the call's own status, or are no Status at all
    if known is not None:
        return known
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in (error.details() or ""):
        told = f"the request is larger than {service} takes in one message; send less at once"
        return RouterError(
            Reason.INVALID_ARGUMENT, told, metadata={"detail": error.details() or ""}
        )
    reason = _UNSAID.get(error.code(), Reason.INTERNAL)
    sentence = _SENTENCES.get(error.code(), "failed; its log says more")
    facts = {"detail": error.details() or error.code().name}
    return RouterError(reason, f"{service} {sentence}", metadata=facts)


def _pack(status: status_pb2.Status, message: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(message)
    status.details.append(packed)


def _utf8(character: str) -> int:
    return len(character.encode(errors="replace"))


def _percent_encoded(character: str) -> int:
    return 1 if " " <= character <= "~" and character != "%" else 3 * _utf8(character)


def _cut(text: str, most: int, size: Callable[[str], int] = _percent_encoded) -> str:
    """Return `text`, or as much of it as takes `most` bytes with the sign that it goes on."""
    sizes = list(accumulate(map(size, text[: most + 1])))
    if not sizes or (sizes[-1] <= most and len(sizes) == len(text)):
        return text
    return text[: bisect_right(sizes, most - size(_MORE))] + _MORE
