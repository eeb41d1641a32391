"""What all messages have in common: times, priorities and who asks."""

from __future__ import annotations

from google.protobuf import duration_pb2

from llmrouter.common.generation import Priority, RequestContext
from llmrouter.v1 import generation_pb2 as pb

__all__ = ["PRIORITY", "PRIORITY_OUT", "decode_context", "duration", "encode_context", "seconds"]

PRIORITY = {
    pb.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    pb.PRIORITY_LOW: Priority.LOW,
    pb.PRIORITY_NORMAL: Priority.NORMAL,
    pb.PRIORITY_HIGH: Priority.HIGH,
}
PRIORITY_OUT = {value: key for key, value in PRIORITY.items()}


def duration(value: float) -> duration_pb2.Duration:
    """Return `value` seconds as a Duration."""
    result = duration_pb2.Duration()
    result.FromNanoseconds(round(value * 1e9))
    return result


def seconds(value: duration_pb2.Duration) -> float:
    """Return a Duration in seconds."""
    return value.seconds + value.nanos / 1e9


def decode_context(context: pb.RequestContext) -> RequestContext:
    """Return who asks."""
    return RequestContext(
        context.request_id,
        context.tenant,
        context.user,
        PRIORITY.get(context.priority, Priority.NORMAL),
    )


def encode_context(context: RequestContext) -> pb.RequestContext:
    """Return the proto of who asks."""
    return pb.RequestContext(
        request_id=context.request_id,
        tenant=context.tenant,
        user=context.user,
        priority=PRIORITY_OUT[context.priority],
    )
