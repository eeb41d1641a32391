"""What an ONNX graph that others wrote is: whether the engine can run it, and how it is stored."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import TensorProto

from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.models.graph_check import check_graph, load_graph
from llmrouter.inference.models.graph_operators import GraphKind

__all__ = ["DecoderGraph", "read_decoder_graph"]

_ATTENTION = "GroupQueryAttention"
_FED = frozenset({"input_ids", "attention_mask", "logits_to_keep"})
_COLLECTIVE = frozenset({
    "AllReduce", "AllGather", "AllToAll", "DistributedMatMul", "DistributedReshape",
    "DistributedAdd", "DistributedMul", "ShardedMoE",
})  # fmt: skip
"""Operators by which the parts of a sharded layer meet."""
_PAST = re.compile(r"past_key_values\.(\d+)\.(key|value)")
_FLOATS = {
    TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DecoderGraph:
    """A graph that was found to be a decoder of the form that runs here."""

    layers: int
    precision: str
    """`int4` or `int8` where most weights are in such blocks, else the type of its weights."""
    parameters: int


def read_decoder_graph(file: Path) -> DecoderGraph:
    """Read and check a graph; its weights are not opened, only looked for.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the input, operator or weight that is not supported.
    """
    model = load_graph(file)
    graph = model.graph
    _refuse_shards(file, model)
    layers = _layers(file, [str(value.name) for value in graph.input])
    attention = sum(node.op_type == _ATTENTION for node in graph.node)
    if attention != layers:
        raise bad_file(
            file,
            f"has {attention} operators {_ATTENTION} for {layers} layers; other attention has no "
            "cache in place and is not supported: import the model's weights instead",
        )
    check_graph(file, model, GraphKind.DECODER)
    return DecoderGraph(layers, *_storage(graph))


def _refuse_shards(file: Path, model: Any) -> None:
    """Refuse what is one part of a model that several devices compute together."""
    for node in model.graph.node:
        if node.op_type in _COLLECTIVE or node.device_configurations:
            raise bad_file(
                file,
                f"shards {str(node.name)[:80]!a}, a {str(node.op_type)[:40]}, over devices, which "
                "is not supported; export the model for one device",
            )


def _layers(file: Path, inputs: Iterable[str]) -> int:
    """Return how many layers have a cache, all inputs being such as the engine feeds."""
    found: set[tuple[int, str]] = set()
    for name in inputs:
        past = _PAST.fullmatch(name)
        if past:
            found.add((int(past[1]), past[2]))
        elif name not in _FED:
            raise bad_file(
                file,
                f"has the input '{name[:80]}', which is not supported; supported are "
                f"{', '.join(sorted(_FED))} and past_key_values.N.key and .value",
            )
    layers = len(found) // 2
    if not layers or found != {(one, part) for one in range(layers) for part in ("key", "value")}:
        raise bad_file(file, "has no inputs past_key_values.N.key and .value from layer 0 on")
    return layers


def _storage(graph: Any) -> tuple[str, int]:
    """Return the precision that most weights have, and how many weights there are."""
    counts: dict[str, int] = {}
    packed: set[str] = set()
    for node in graph.node:
        values = {one.name: int(one.i) for one in node.attribute if one.type == 2}
        if node.op_type == "MatMulNBits":
            packed.update(node.input[1:])
            kind = f"int{values.get('bits', 4)}"
            size = max(0, values.get("N", 0)) * max(0, values.get("K", 0))
            counts[kind] = counts.get(kind, 0) + size
        elif node.op_type == "GatherBlockQuantized":
            packed.update(node.input)
        elif node.op_type == _ATTENTION:
            packed.update(node.input[7:9])  # angles
    for tensor in graph.initializer:
        if tensor.name not in packed and tensor.data_type in _FLOATS:
            kind = _FLOATS[tensor.data_type]
            counts[kind] = counts.get(kind, 0) + math.prod(max(0, one) for one in tensor.dims)
    if not counts:
        return "unknown", 0
    return max(counts, key=lambda kind: counts[kind]), min(sum(counts.values()), 10**14)
