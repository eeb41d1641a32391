"""What a caller asks of the selector, to protos and back."""

from __future__ import annotations

from llmrouter.common.generation import RoutingWishes
from llmrouter.common.wire import duration, seconds
from llmrouter.v1 import generation_pb2 as pb

__all__ = ["decode_routing", "encode_routing"]


def decode_routing(wishes: pb.RoutingWishes) -> RoutingWishes:
    """Return the wishes; bounds are checked by `validation.py`."""
    return RoutingWishes(
        model=wishes.model,
        strategy=wishes.strategy,
        min_quality=wishes.min_quality,
        max_cost=wishes.max_cost,
        tags=tuple(wishes.tags),
        max_latency=seconds(wishes.max_latency) if wishes.HasField("max_latency") else 0.0,
        max_time_to_first_token=(
            seconds(wishes.max_time_to_first_token)
            if wishes.HasField("max_time_to_first_token")
            else 0.0
        ),
        session=wishes.session,
        no_exploration=wishes.no_exploration,
    )


def encode_routing(wishes: RoutingWishes) -> pb.RoutingWishes:
    """Return the proto; what is not wished stays absent."""
    first = wishes.max_time_to_first_token
    return pb.RoutingWishes(
        model=wishes.model,
        strategy=wishes.strategy,
        min_quality=wishes.min_quality,
        max_cost=wishes.max_cost,
        tags=wishes.tags,
        max_latency=duration(wishes.max_latency) if wishes.max_latency else None,
        max_time_to_first_token=duration(first) if first else None,
        session=wishes.session,
        no_exploration=wishes.no_exploration,
    )
