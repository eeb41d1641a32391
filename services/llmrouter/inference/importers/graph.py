"""The ONNX graph of a Llama-style decoder, written operator by operator.

Follows the model contract of onnxruntime-genai. One addition: `logits_to_keep` (int64[1],
default 1) says for how many of the last positions the head is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from llmrouter.inference.importers.architecture import Architecture
from llmrouter.inference.importers.quantise import BLOCK, Quantised, quantise4, quantise8
from llmrouter.inference.importers.weights import WeightFile

__all__ = ["LAYER_NAMES", "Weights", "write_graph"]

Weights = Callable[[str], NDArray[np.float32]]
"""Reads one matrix [out, in] or vector by its name in the GGUF convention."""

LAYER_NAMES = (
    "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output",
    "ffn_norm", "ffn_gate", "ffn_up", "ffn_down",
)  # fmt: skip
_OPSET = 21
_IR_VERSION = 10
_CONTRIB = "com.microsoft"
_ACCURACY_INT8 = 4
_END = np.iinfo(np.int64).max


def write_graph(
    target: Path,
    model: Architecture,
    weights: Weights,
    precision: str,
    on_layer: Callable[[int, int], None],
) -> int:
    """Write `model.onnx` and `model.onnx.data` into `target`, reading one tensor at a time.

    Returns:
        The number of parameters.
    """
    data = WeightFile(target / "model.onnx.data")
    try:
        builder = _Builder(model, weights, precision, data)
        builder.begin()
        for layer in range(model.layers):
            builder.layer(layer)
            on_layer(layer + 1, model.layers)
        builder.head()
    finally:
        data.close()
    onnx.save(builder.model(), str(target / "model.onnx"))
    return builder.parameters


class _Builder:
    """Collects nodes while the weights stream through."""

    def __init__(
        self, model: Architecture, weights: Weights, precision: str, data: WeightFile
    ) -> None:
        self._arch, self._read, self._precision, self._data = model, weights, precision, data
        self._nodes: list[Any] = []
        self._small: list[Any] = []
        self._residual = ""
        self._normed = ""
        self.parameters = 0

    def begin(self) -> None:
        """Sequence lengths from the mask, the embedding, the first norm."""
        arch = self._arch
        one = self._constant("one", np.array([1], np.int64))
        summed = self._node("ReduceSum", ["attention_mask", one], keepdims=0)
        last = self._node("Sub", [summed, one])
        self._lengths = self._node("Cast", [last], to=TensorProto.INT32)
        shape = self._node("Shape", ["attention_mask"], start=1, end=2)
        total = self._node("Cast", [shape], to=TensorProto.INT32)
        scalar = self._constant("scalar", np.array([], np.int64))
        self._total = self._node("Reshape", [total, scalar])
        angles = np.outer(
            np.arange(arch.context),
            arch.rope_base ** (-np.arange(0, arch.head_size, 2) / arch.head_size),
        )
        self._cos = self._data.add("cos_cache", np.cos(angles).astype(np.float32))
        self._sin = self._data.add("sin_cache", np.sin(angles).astype(np.float32))
        self._residual = self._embedding()
        self._normed = self._node(
            "SimplifiedLayerNormalization",
            [self._residual, self._vector("blk.0.attn_norm.weight")],
            axis=-1,
            epsilon=arch.norm_epsilon,
            stash_type=1,
        )

    def layer(self, index: int) -> None:
        """Attention and feed-forward of one layer."""
        arch, at = self._arch, f"blk.{index}"
        qkv = self._linear(
            f"{at}.attn_qkv",
            np.concatenate([self._weight(f"{at}.attn_{part}.weight") for part in "qkv"]),
            self._normed,
        )
        attended = self._attention(index, qkv)
        projected = self._linear(
            f"{at}.attn_output", self._weight(f"{at}.attn_output.weight"), attended
        )
        self._add_and_norm(projected, f"{at}.ffn_norm.weight")
        gate = self._linear(f"{at}.ffn_gate", self._weight(f"{at}.ffn_gate.weight"), self._normed)
        up = self._linear(f"{at}.ffn_up", self._weight(f"{at}.ffn_up.weight"), self._normed)
        # QuickGelu with alpha 1 is SiLU in one operator.
        active = self._node("QuickGelu", [gate], domain=_CONTRIB, alpha=1.0)
        gated = self._node("Mul", [active, up])
        down = self._linear(f"{at}.ffn_down", self._weight(f"{at}.ffn_down.weight"), gated)
        last = index + 1 == arch.layers
        self._add_and_norm(
            down, "output_norm.weight" if last else f"blk.{index + 1}.attn_norm.weight"
        )

    def head(self) -> None:
        """Logits of the last `logits_to_keep` positions."""
        start = self._node("Neg", ["logits_to_keep"])
        end = self._constant("end", np.array([_END], np.int64))
        axis = self._constant("axis_one", np.array([1], np.int64))
        kept = self._node("Slice", [self._normed, start, end, axis])
        if self._precision == "fp32":
            self._plain_head(kept)
        elif self._arch.tied:
            self._matmul_nbits("token_embd", (self._arch.vocab_size, self._arch.hidden), kept,
                               8, has_zero_points=False, output="logits")  # fmt: skip
        else:
            packed = quantise8(self._weight("output.weight"))
            self._store("output", packed)
            self._matmul_nbits("output", (self._arch.vocab_size, self._arch.hidden), kept,
                               8, has_zero_points=False, output="logits")  # fmt: skip

    def model(self) -> Any:
        """Return the whole ModelProto."""
        arch, kv = self._arch, _cache_shape(self._arch)
        info = helper.make_tensor_value_info
        inputs = [
            info("input_ids", TensorProto.INT64, ["batch", "sequence"]),
            info("attention_mask", TensorProto.INT64, ["batch", "total"]),
        ]
        # One position is declared: by that genai knows that prefill brings the last one only.
        # Asking for more is a difference that ONNX Runtime notes and allows.
        outputs = [info("logits", TensorProto.FLOAT, ["batch", 1, arch.vocab_size])]
        present = [*kv[:2], "total_cache", *kv[3:]]
        for layer in range(arch.layers):
            for part in ("key", "value"):
                name = f"past_key_values.{layer}.{part}"
                inputs.append(info(name, TensorProto.FLOAT, kv))
                outputs.append(info(f"present.{layer}.{part}", TensorProto.FLOAT, present))
        inputs.append(info("logits_to_keep", TensorProto.INT64, [1]))
        keep = helper.make_tensor("logits_to_keep", TensorProto.INT64, [1], [1])
        graph = helper.make_graph(
            self._nodes, "decoder", inputs, outputs, [*self._small, keep, *self._data.initializers]
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="llmrouter"
        )

    def _embedding(self) -> str:
        arch = self._arch
        table = self._weight("token_embd.weight")
        if self._precision == "fp32":
            self._data.add("token_embd", table)
            return self._node("Gather", ["token_embd", "input_ids"])
        self._store("token_embd", quantise8(table))
        rows = self._data.share(
            "token_embd.rows", "token_embd.data", (arch.vocab_size, arch.hidden)
        )
        return self._node(
            "GatherBlockQuantized", [rows, "input_ids", "token_embd.scales"], domain=_CONTRIB,
            bits=8,
            block_size=BLOCK, gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def _plain_head(self, kept: str) -> None:
        arch = self._arch
        table = "token_embd"
        if not arch.tied:
            table = self._data.add("output", self._weight("output.weight"))
        flat = self._node("Reshape", [kept, self._constant(
            "flat", np.array([-1, arch.hidden], np.int64))])  # fmt: skip
        # Gemm reads the embedding as it lies: the tied matrix is stored once.
        product = self._node("Gemm", [flat, table], transB=1)
        shape = self._node("Shape", [kept], start=0, end=2)
        width = self._constant("width", np.array([arch.vocab_size], np.int64))
        full = self._node("Concat", [shape, width], axis=0)
        self._node("Reshape", [product, full], output="logits")

    def _attention(self, index: int, qkv: str) -> str:
        arch = self._arch
        output = f"blk.{index}.attended"
        self._nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [
                    qkv, "", "",
                    f"past_key_values.{index}.key", f"past_key_values.{index}.value",
                    self._lengths, self._total, self._cos, self._sin,
                ],
                [output, f"present.{index}.key", f"present.{index}.value"],
                domain=_CONTRIB,
                name=output,
                num_heads=arch.heads,
                kv_num_heads=arch.kv_heads,
                do_rotary=1,
                rotary_interleaved=int(arch.rope_interleaved),
                scale=float(arch.head_size**-0.5),
            )
        )  # fmt: skip
        return output

    def _add_and_norm(self, added: str, gamma: str) -> None:
        normed, residual = f"{gamma}.normed", f"{gamma}.residual"
        self._nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization",
                [self._residual, added, self._vector(gamma)],
                [normed, "", "", residual],
                domain=_CONTRIB,
                name=normed,
                epsilon=self._arch.norm_epsilon,
            )
        )
        self._normed, self._residual = normed, residual

    def _linear(self, name: str, matrix: NDArray[np.float32], source: str) -> str:
        """Multiply by a matrix [out, in].

        At 4 bits only the feed-forward is: keeping attention at 8 costs an eighth of the size and
        saves two thirds of the perplexity lost (measured on the demo model).
        """
        if self._precision == "fp32":
            return self._node("MatMul", [source, self._data.add(name, matrix.T)])
        bits = 4 if self._precision == "int4" and "ffn" in name else 8
        packed = quantise4(matrix) if bits == 4 else quantise8(matrix)
        self._store(name, packed)
        shape = (matrix.shape[0], matrix.shape[1])
        return self._matmul_nbits(
            name, shape, source, bits, has_zero_points=packed.zero_points is not None
        )

    def _matmul_nbits(
        self, name: str, shape: tuple[int, int], source: str, bits: int, *,
        has_zero_points: bool, output: str = "",
    ) -> str:  # fmt: skip
        inputs = [source, f"{name}.data", f"{name}.scales"]
        if has_zero_points:
            inputs.append(f"{name}.zero_points")
        return self._node(
            "MatMulNBits", inputs, domain=_CONTRIB, output=output, N=shape[0], K=shape[1],
            bits=bits, block_size=BLOCK, accuracy_level=_ACCURACY_INT8,
        )  # fmt: skip

    def _store(self, name: str, packed: Quantised) -> None:
        self._data.add(f"{name}.data", packed.data)
        self._data.add(f"{name}.scales", packed.scales)
        if packed.zero_points is not None:
            self._data.add(f"{name}.zero_points", packed.zero_points)

    def _weight(self, name: str) -> NDArray[np.float32]:
        array = self._read(name)
        self.parameters += array.size
        return array

    def _vector(self, name: str) -> str:
        return self._constant(name, self._weight(name))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._small.append(onnx.numpy_helper.from_array(value, name))
        return name

    def _node(
        self, kind: str, inputs: list[str], *, domain: str = "", output: str = "", **attributes: Any
    ) -> str:
        output = output or f"{kind}.{len(self._nodes)}"
        node = helper.make_node(kind, inputs, [output], domain=domain, name=output, **attributes)
        self._nodes.append(node)
        return output


def _cache_shape(model: Architecture) -> list[str | int | None]:
    return ["batch", model.kv_heads, "past", model.head_size]
