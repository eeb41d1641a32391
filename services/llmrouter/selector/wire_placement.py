"""Inference services as placement sees them, from what they tell over gRPC."""

from __future__ import annotations

from llmrouter.selector.placement import Holding, Node
from llmrouter.v1 import inference_pb2, model_pb2

__all__ = ["MAX_MODELS", "decode_node"]

MAX_MODELS = 1024
"""Models of one address at most; the rest are left out."""
_REMOTE = "remote"
"""The precision of models that a provider computes."""
_MOVING = (inference_pb2.MODEL_STATE_LOADING, inference_pb2.MODEL_STATE_DRAINING)


def decode_node(
    answer: model_pb2.ModelServiceWatchResponse | model_pb2.ModelServiceListResponse,
    address: str,
    returns: int = 0,
) -> Node:
    """Return the service at `address` as it tells of itself, heard again so many times."""
    memory, models = answer.memory, answer.models[:MAX_MODELS]
    limit, budget = memory.limit_bytes, memory.budget_bytes
    return Node(
        address=address,
        cpu=answer.cpu,
        memory=memory.used_bytes / limit if limit else 0.0,
        memory_limit=limit,
        free_budget=budget - memory.model_bytes if budget else None,
        # What a provider computes takes no memory here, and is nobody's to move.
        holdings=tuple(_holding(one) for one in models if one.version and one.precision != _REMOTE),
        coming=any(one.state in _MOVING and not one.version for one in models),
        returns=returns,
    )


def _holding(model: inference_pb2.LoadedModel) -> Holding:
    load = model.statistics
    return Holding(
        name=model.name,
        version=model.version,
        ready=model.state == inference_pb2.MODEL_STATE_READY,
        settled=model.state not in _MOVING,
        memory=model.memory_bytes,
        busy=(load.running + load.waiting) / max(1, load.slots),
        pinned=model.pinned,
        failed=model.state == inference_pb2.MODEL_STATE_FAILED,
        on_demand=model.on_demand,
    )
