"""RouterError to google.rpc.Status and back."""

from __future__ import annotations

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
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
_MAX_MESSAGE = 1500
_MAX_FACT = 256
"""Characters: all of a Status travels in a header, and those end at 16 KiB."""


def to_status(error: RouterError) -> status_pb2.Status:
    """Return the Status with ErrorInfo, and those other details that apply."""
    message = _cut(error.message, _MAX_MESSAGE)
    status = status_pb2.Status(code=_CODES[error.status].value[0], message=message)
    facts = {name: _cut(value, _MAX_FACT) for name, value in error.metadata.items()}
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
                field=_cut(violation.field, _MAX_FACT),
                description=_cut(violation.description, _MAX_FACT),
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


def _pack(status: status_pb2.Status, message: object) -> None:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    status.details.append(packed)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"
