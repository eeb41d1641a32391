"""The measured speed of a model as it is told over gRPC."""

from __future__ import annotations

from llmrouter.common.wire import duration
from llmrouter.inference.models.card import ModelCard
from llmrouter.inference.models.machine import describe_machine
from llmrouter.v1 import inference_pb2 as pb

__all__ = ["encode_speed"]


def encode_speed(card: ModelCard | None) -> pb.ModelSpeed | None:
    """Return what `card` says of this machine; None where it says nothing, or of another one."""
    speed = card.speed if card is not None else None
    if speed is None or speed.machine != describe_machine():
        return None
    return pb.ModelSpeed(
        load_time=duration(speed.load_seconds),
        prefill_rate=speed.prefill_rate,
        decode_rate=speed.decode_rate,
        batch_rate=speed.batch_rate,
        streams=speed.streams,
        memory_bytes=speed.memory_bytes,
    )
