"""The beginning of an answer that is gone on with, to its proto and back."""

from __future__ import annotations

from llmrouter.common.continuation import Continuation
from llmrouter.common.errors import FieldViolation, Reason, RouterError, invalid
from llmrouter.common.generation import GenerationRequest
from llmrouter.v1 import inference_pb2 as pb

__all__ = ["MAX_CONTINUED_BYTES", "decode_continuation", "encode_continuation"]

MAX_CONTINUED_BYTES = 4 << 20


def encode_continuation(begun: Continuation | None) -> pb.Continuation | None:
    """Return the proto; None where nothing has been answered yet."""
    if begun is None:
        return None
    return pb.Continuation(text=begun.text, token_ids=begun.token_ids, tokens=begun.tokens)


def decode_continuation(request: pb.InferRequest, asked: GenerationRequest) -> Continuation | None:
    """Return what has been answered already; None where nothing has.

    Raises:
        RouterError: INVALID_ARGUMENT, it is too long; UNSUPPORTED_OPTION, an answer like this
            cannot be gone on with.
    """
    if not request.HasField("continuation"):
        return None
    begun = request.continuation
    size = len(begun.text.encode())
    if size > MAX_CONTINUED_BYTES:
        raise invalid("continuation.text", f"is {size} bytes; at most {MAX_CONTINUED_BYTES}")
    shaped = asked.sampling.response_format is not None or asked.tools is not None
    if asked.sampling.n > 1 or shaped:
        told = "is of several answers, or of one with a response_format or tools; no such answer is"
        told += " gone on with"
        violation = FieldViolation("continuation", told)
        message = f"continuation {told}"
        raise RouterError(Reason.UNSUPPORTED_OPTION, message, violations=(violation,))
    return Continuation(begun.text, tuple(begun.token_ids), begun.tokens)
