"""The one exception of the client, made from google.rpc.Status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_status import rpc_status

from llmrouter_client.handshake import handshake_failure

__all__ = ["FieldViolation", "LlmrouterError", "from_rpc_error", "from_status"]

_DOMAIN = "llmrouter"
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_UNSAID = {
    grpc.StatusCode.UNAVAILABLE: "UPSTREAM_UNAVAILABLE",
    grpc.StatusCode.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "QUEUE_FULL",
    grpc.StatusCode.INVALID_ARGUMENT: "INVALID_ARGUMENT",
}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field of a request: its path as in the proto, and what is wrong with it."""

    field: str
    description: str


class LlmrouterError(Exception):
    """A call failed.

    Attributes:
        reason: Machine-readable cause: a name of `ErrorReason` in `errors.proto`.
        message: One clear sentence for people.
        code: The gRPC status code.
        metadata: Facts that help, as strings.
        retry_after: Seconds to wait before trying again, when the server said so.
        violations: The wrong fields, for bad requests.
        transport: Whether the connection failed: no service has said any of it.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        violations: tuple[FieldViolation, ...] = (),
        transport: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after
        self.violations = violations
        self.transport = transport


def from_rpc_error(
    error: aio.AioRpcError, address: str, delivered_tokens: int | None = None
) -> LlmrouterError:
    """Return the typed error for a failed call to `address`.

    Args:
        error: What gRPC raised.
        address: `host:port` of the gateway.
        delivered_tokens: Tokens of the answer that came before; None where none could.
    """
    try:
        status = rpc_status.from_call(error)
    except (ValueError, DecodeError):  # a proxy's trailers: the code says enough
        status = None
    known = None if status is None else from_status(status)
    if known is not None:
        return known
    told = _from_transport(error, address)
    return told if delivered_tokens is None else _broken_off(told, address, delivered_tokens)


def from_status(status: status_pb2.Status) -> LlmrouterError | None:
    """Return the typed error that a Status carries; None where no service of ours made it."""
    info, retry, bad = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    for detail in status.details:
        for target in (info, retry, bad):
            if detail.Is(target.DESCRIPTOR):
                detail.Unpack(target)
    if info.domain != _DOMAIN:
        return None
    return LlmrouterError(
        info.reason,
        status.message or info.reason,
        code=_CODES.get(status.code, grpc.StatusCode.UNKNOWN),
        metadata=dict(info.metadata),
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() or None,
        violations=tuple(FieldViolation(v.field, v.description) for v in bad.field_violations),
    )


def _broken_off(error: LlmrouterError, address: str, tokens: int) -> LlmrouterError:
    """Return what a connection that is lost means in the middle of an answer."""
    if error.reason != "UPSTREAM_UNAVAILABLE":
        return error
    return LlmrouterError(
        "ANSWER_BROKEN_OFF",
        f"{address} broke the answer off after {tokens} tokens; what came is incomplete, ask again",
        code=error.code,
        metadata={**error.metadata, "delivered_tokens": str(tokens)},
    )


def _from_transport(error: aio.AioRpcError, address: str) -> LlmrouterError:
    code, details = error.code(), error.details() or ""
    sentences = {
        grpc.StatusCode.UNAVAILABLE: f"nothing answers at {address}; is the suite running?",
        grpc.StatusCode.DEADLINE_EXCEEDED: f"{address} did not finish within the time allowed",
        grpc.StatusCode.UNIMPLEMENTED: f"{address} is not the llmrouter service called",
    }
    if code is grpc.StatusCode.CANCELLED:
        # A call cancelled here raises CancelledError; this status means that a server which shuts
        # down let go of it, and that another one may answer.
        code = grpc.StatusCode.UNAVAILABLE
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        sentence = f"the request is larger than {address} accepts; send less text"
        return LlmrouterError("INVALID_ARGUMENT", sentence, code=code, metadata={"detail": details})
    known = handshake_failure(address, details) or sentences.get(code)
    message = known or f"{address} failed ({code.name}); its log may say why"
    reason = _UNSAID.get(code, "INTERNAL")
    facts = {"detail": details}
    return LlmrouterError(reason, message, code=code, metadata=facts, transport=True)
