"""The ONNX graph of a decoder, written operator by operator while its weights stream through.

Follows the model contract of onnxruntime-genai. One addition: `logits_to_keep` (int64[1],
default 1) says for how many of the last positions the head is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from llmrouter.inference.importers.architecture import Architecture, needed_tensors
from llmrouter.inference.importers.journal import Journal
from llmrouter.inference.importers.layer import LayerWriter, Stream
from llmrouter.inference.importers.matrices import Matrices, Stack
from llmrouter.inference.importers.nodes import CONTRIB, Nodes
from llmrouter.inference.importers.quantise import BLOCK
from llmrouter.inference.importers.tensors import Tensors, row_spans
from llmrouter.inference.importers.weights import WeightFile, WeightPlan

__all__ = ["DATA_FILE", "graph_bytes", "write_graph"]

DATA_FILE = "model.onnx.data"
_GRAPH_FILE = "model.onnx"

_OPSET = 21
_IR_VERSION = 10
_END = np.iinfo(np.int64).max
_EMBEDDING = "token_embd"


def write_graph(
    target: Path,
    model: Architecture,
    tensors: Tensors,
    precision: str,
    on_layer: Callable[[int, int], None],
    journal: Journal | None = None,
) -> int:
    """Write `model.onnx` and `model.onnx.data` into `target`.

    Unquantised, one matrix of a layer is held at a time; otherwise some rows of one. Tensors that
    `journal` knows to be whole are not written again.

    Returns:
        The number of parameters.
    """
    data = WeightFile(target / DATA_FILE, journal)
    try:
        graph = _written(model, tensors, precision, data, on_layer)
        data.end()
    finally:
        data.close()
    onnx.save(graph, str(target / _GRAPH_FILE))
    return sum(math.prod(shape) for shape in needed_tensors(model).values())


def graph_bytes(model: Architecture, tensors: Tensors, precision: str) -> int:
    """Return the size of the files that `write_graph` would write; only vectors are read."""
    data = WeightPlan(DATA_FILE)
    graph = _written(model, tensors, precision, data, lambda done, total: None)
    return int(graph.ByteSize()) + data.size


def _written(
    model: Architecture,
    tensors: Tensors,
    precision: str,
    data: WeightFile,
    on_layer: Callable[[int, int], None],
) -> Any:
    """Fill `data` and return the ModelProto."""
    writer = _GraphWriter(model, tensors, precision, data)
    stream = writer.begin()
    for layer in range(model.layers):
        stream = writer.layer(layer, stream)
        on_layer(layer + 1, model.layers)
    writer.head(stream)
    return writer.model()


class _GraphWriter:
    """Embedding, layers and head of one model at one precision."""

    def __init__(
        self, model: Architecture, tensors: Tensors, precision: str, data: WeightFile
    ) -> None:
        self._arch, self._data = model, data
        self._nodes = Nodes()
        self._matrices = Matrices(tensors, precision, data, self._nodes)
        self._layers = LayerWriter(model, tensors, self._matrices, self._nodes)
        parts = ((f"{_EMBEDDING}.weight", model.vocab_size),)
        self._table = Stack(_EMBEDDING, parts, model.hidden)

    def begin(self) -> Stream:
        """Sequence lengths from the mask, angles, the embedding, the first norm."""
        nodes = self._nodes
        one = nodes.integers(1)
        summed = nodes.add("ReduceSum", ["attention_mask", one], keepdims=0)
        last = nodes.add("Sub", [summed, one])
        nodes.add("Cast", [last], output="lengths", to=TensorProto.INT32)
        shape = nodes.add("Shape", ["attention_mask"], start=1, end=2)
        total = nodes.add("Cast", [shape], to=TensorProto.INT32)
        scalar = nodes.constant("scalar", np.array([], np.int64))
        nodes.add("Reshape", [total, scalar], output="total")
        self._write_angles()
        return self._layers.first(self._embedding())

    def layer(self, index: int, stream: Stream) -> Stream:
        """Attention and feed-forward of one layer."""
        return self._layers.write(index, stream)

    def head(self, stream: Stream) -> None:
        """Logits of the last `logits_to_keep` positions."""
        arch, nodes = self._arch, self._nodes
        start = nodes.add("Neg", ["logits_to_keep"])
        kept = nodes.add("Slice", [stream.normed, start, nodes.integers(_END), nodes.integers(1)])
        table = self._table
        if not arch.tied:
            table = Stack("output", (("output.weight", arch.vocab_size),), arch.hidden)
            self._matrices.write_table(table)
        named = "" if arch.logits_cap else "logits"
        if self._matrices.plain:
            logits = self._plain_head(kept, table.name, named)
        else:
            logits = self._matrices.multiply_blocks(table, kept, 8, output=named)
        if arch.logits_cap:
            cap = nodes.constant("logits_cap", np.array(arch.logits_cap, np.float32))
            share = nodes.add("Tanh", [nodes.add("Div", [logits, cap])])
            nodes.add("Mul", [share, cap], output="logits")

    def model(self) -> Any:
        """Return the whole ModelProto."""
        arch = self._arch
        past: list[str | int | None] = ["batch", arch.kv_heads, "past", arch.head_size]
        present: list[str | int | None] = ["batch", arch.kv_heads, "total_cache", arch.head_size]
        info = helper.make_tensor_value_info
        inputs = [
            info("input_ids", TensorProto.INT64, ["batch", "sequence"]),
            info("attention_mask", TensorProto.INT64, ["batch", "total"]),
        ]
        # One position is declared: by that genai knows that prefill brings the last one only.
        # Asking for more is a difference that ONNX Runtime notes and allows.
        outputs = [info("logits", TensorProto.FLOAT, ["batch", 1, arch.vocab_size])]
        for layer in range(arch.layers):
            for part in ("key", "value"):
                name = f"past_key_values.{layer}.{part}"
                inputs.append(info(name, TensorProto.FLOAT, past))
                outputs.append(info(f"present.{layer}.{part}", TensorProto.FLOAT, present))
        inputs.append(info("logits_to_keep", TensorProto.INT64, [1]))
        keep = helper.make_tensor("logits_to_keep", TensorProto.INT64, [1], [1])
        constants = [*self._nodes.constants.values(), keep, *self._data.initializers]
        graph = helper.make_graph(self._nodes.made, "decoder", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="llmrouter"
        )

    def _write_angles(self) -> None:
        rope, context = self._arch.rope, self._arch.context
        shape = (context, len(rope.frequencies))
        cosines = self._data.reserve("cos_cache", np.float32, shape)
        sines = self._data.reserve("sin_cache", np.float32, shape)
        there = cosines.whole and sines.whole
        for start, stop in () if there else row_spans(*shape):
            angles = np.outer(np.arange(start, stop), rope.frequencies)
            cosines.append(np.cos(angles) * rope.magnitude)
            sines.append(np.sin(angles) * rope.magnitude)

    def _embedding(self) -> str:
        arch, nodes = self._arch, self._nodes
        self._matrices.write_table(self._table)
        if self._matrices.plain:
            found = nodes.add("Gather", [_EMBEDDING, "input_ids"])
        else:
            rows = self._data.share(
                f"{_EMBEDDING}.rows", f"{_EMBEDDING}.data", (arch.vocab_size, arch.hidden)
            )
            found = nodes.add(
                "GatherBlockQuantized", [rows, "input_ids", f"{_EMBEDDING}.scales"],
                domain=CONTRIB, bits=8, block_size=BLOCK, gather_axis=0, quantize_axis=1,
            )  # fmt: skip
        if arch.embedding_scale == 1.0:
            return found
        scale = nodes.constant("embedding_scale", np.array(arch.embedding_scale, np.float32))
        return nodes.add("Mul", [found, scale])

    def _plain_head(self, kept: str, table: str, output: str) -> str:
        nodes = self._nodes
        flat = nodes.add("Reshape", [kept, nodes.integers(-1, self._arch.hidden)])
        # Gemm reads the embedding as it lies: the tied matrix is stored once.
        product = nodes.add("Gemm", [flat, table], transB=1)
        shape = nodes.add("Shape", [kept], start=0, end=2)
        full = nodes.add("Concat", [shape, nodes.integers(self._arch.vocab_size)], axis=0)
        return nodes.add("Reshape", [product, full], output=output)
