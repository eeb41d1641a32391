"""A llama-shaped model small enough to make in a test: random weights, the real operators.

Its vocabulary is the 256 bytes, an end token and padding, so that any text is a prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

Array = npt.NDArray[np.float32]

BLOCK = 32


@dataclass(frozen=True)
class TinyShape:
    vocabulary: int = 288
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    context: int = 128
    end_token: int = 256


class _Graph:
    """Collects nodes and initializers while the layers are written down."""

    def __init__(self, shape: TinyShape, *, quantised: bool, half: bool, seed: int) -> None:
        self.shape = shape
        self.quantised = quantised
        self.half = half
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(seed)

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def node(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object
    ) -> str:
        domain = attributes.pop("domain", "")
        self.nodes.append(
            helper.make_node(
                kind, list(inputs), list(outputs), name=outputs[0], domain=domain, **attributes
            )
        )
        return outputs[0]

    def cast(self, source: str, to: int) -> str:
        return self.node("Cast", [source], [f"{source}.{to}"], to=to) if self.half else source

    def random(self, *size: int, scale: float) -> Array:
        return self._random.normal(0.0, scale, size).astype(np.float32)

    def norm(self, name: str, source: str) -> str:
        weight = self.constant(f"{name}.weight", np.ones(self.shape.hidden, np.float32))
        return self.node(
            "SimplifiedLayerNormalization", [source, weight], [name], axis=-1, epsilon=1e-5
        )

    def linear(self, name: str, source: str, inner: int, outer: int, scale: float = 0.15) -> str:
        weight = self.random(outer, inner, scale=scale)
        if not self.quantised:
            transposed = np.ascontiguousarray(weight.T)
            return self.node(
                "MatMul", [source, self.constant(f"{name}.weight", transposed)], [name]
            )
        blocks = weight.reshape(outer, inner // BLOCK, BLOCK)
        scales = np.abs(blocks).max(axis=2) / 127.0
        levels = np.round(blocks / scales[..., None]).astype(np.int32) + 128
        return self.node(
            "MatMulNBits",
            [
                source,
                self.constant(f"{name}.levels", levels.astype(np.uint8)),
                self.constant(f"{name}.scales", scales.astype(np.float32)),
            ],
            [name],
            domain="com.microsoft",
            K=inner,
            N=outer,
            bits=8,
            block_size=BLOCK,
            accuracy_level=4,
        )

    def attention(self, layer: int, source: str) -> str:
        shape = self.shape
        name = f"layer.{layer}"
        width, kv_width = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        query = self.linear(f"{name}.q", source, shape.hidden, width, 0.3)
        key = self.linear(f"{name}.k", source, shape.hidden, kv_width, 0.3)
        value = self.linear(f"{name}.v", source, shape.hidden, kv_width)
        past = [f"past_key_values.{layer}.{kind}" for kind in ("key", "value")]
        present = [f"present.{layer}.{kind}" for kind in ("key", "value")]
        attended = self.node(
            "GroupQueryAttention",
            [
                *(self.cast(one, TensorProto.FLOAT16) for one in (query, key, value)),
                *past,
                "lengths",
                "total",
                "cosines",
                "sines",
            ],
            [f"{name}.attended", *present],
            domain="com.microsoft",
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            do_rotary=1,
        )
        attended = self.cast(attended, TensorProto.FLOAT)
        return self.linear(f"{name}.o", attended, width, shape.hidden)

    def block(self, layer: int, source: str) -> str:
        shape = self.shape
        name = f"layer.{layer}"
        attended = self.attention(layer, self.norm(f"{name}.norm1", source))
        middle = self.node("Add", [source, attended], [f"{name}.middle"])
        normed = self.norm(f"{name}.norm2", middle)
        wide = self.linear(f"{name}.up", normed, shape.hidden, 2 * shape.hidden)
        gate = self.node("Sigmoid", [wide], [f"{name}.gate"])
        gated = self.node("Mul", [wide, gate], [f"{name}.gated"])
        narrow = self.linear(f"{name}.down", gated, 2 * shape.hidden, shape.hidden)
        return self.node("Add", [middle, narrow], [f"{name}.out"])


def _lengths(graph: _Graph) -> None:
    """Row lengths and the longest of them, as genai's graphs derive them from the mask."""
    graph.constant("one", np.array([1], np.int64))
    graph.constant("one_index", np.array(1, np.int64))
    graph.node("ReduceSum", ["attention_mask", "one"], ["sums"], keepdims=0)
    graph.node("Sub", ["sums", "one"], ["lengths64"])
    graph.node("Cast", ["lengths64"], ["lengths"], to=TensorProto.INT32)
    graph.node("Shape", ["attention_mask"], ["mask_shape"])
    graph.node("Gather", ["mask_shape", "one_index"], ["total64"], axis=0)
    graph.node("Cast", ["total64"], ["total"], to=TensorProto.INT32)


def _rotary(graph: _Graph) -> None:
    half = graph.shape.head_size // 2
    frequencies = 10000.0 ** (-np.arange(half) / half)
    angles = np.arange(graph.shape.context)[:, None] * frequencies
    kind = np.float16 if graph.half else np.float32
    graph.constant("cosines", np.cos(angles).astype(kind))
    graph.constant("sines", np.sin(angles).astype(kind))


def _interface(
    shape: TinyShape, *, half: bool
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    cache = ["batch", shape.kv_heads, "past", shape.head_size]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "total"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", kind, ["batch", "kept", shape.vocabulary])]
    for layer in range(shape.layers):
        for part in ("key", "value"):
            past, present = f"past_key_values.{layer}.{part}", f"present.{layer}.{part}"
            inputs.append(helper.make_tensor_value_info(past, kind, cache))
            outputs.append(helper.make_tensor_value_info(present, kind, cache))
    return inputs, outputs


def make_model(
    shape: TinyShape,
    *,
    quantised: bool = True,
    last_only: bool = True,
    half: bool = False,
    seed: int = 7,
) -> onnx.ModelProto:
    """Return the graph.

    Args:
        last_only: Compute the logits of the last position, as our graphs do.
        half: Keys, values, what attention computes and logits are float16.
    """
    graph = _Graph(shape, quantised=quantised, half=half, seed=seed)
    _lengths(graph)
    _rotary(graph)
    table = graph.constant("embeddings", graph.random(shape.vocabulary, shape.hidden, scale=1.0))
    state = graph.node("Gather", [table, "input_ids"], ["embedded"], axis=0)
    for layer in range(shape.layers):
        state = graph.block(layer, state)
    state = graph.norm("norm", state)
    if last_only:
        graph.constant("from_last", np.array([-1], np.int64))
        graph.constant("to_end", np.array([2**62], np.int64))
        state = graph.node("Slice", [state, "from_last", "to_end", "one"], ["last"])
    logits = graph.linear(
        "logits32" if half else "logits", state, shape.hidden, shape.vocabulary, 0.5
    )
    if half:
        graph.node("Cast", [logits], ["logits"], to=TensorProto.FLOAT16)
    inputs, outputs = _interface(shape, half=half)
    proto = helper.make_graph(graph.nodes, "tiny", inputs, outputs, graph.initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=10)


def _config(shape: TinyShape) -> dict[str, object]:
    return {
        "model": {
            "type": "llama",
            "vocab_size": shape.vocabulary,
            "context_length": shape.context,
            "bos_token_id": shape.end_token,
            "eos_token_id": shape.end_token,
            "pad_token_id": shape.end_token,
            "decoder": {
                "filename": "model.onnx",
                "head_size": shape.head_size,
                "hidden_size": shape.hidden,
                "num_attention_heads": shape.heads,
                "num_hidden_layers": shape.layers,
                "num_key_value_heads": shape.kv_heads,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {"max_length": shape.context, "past_present_share_buffer": True},
    }


def _write_tokenizer(folder: Path, shape: TinyShape) -> None:
    """One token per byte; ids are in the order of the byte alphabet."""
    vocabulary = {
        letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))
    }
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": template, "eos_token": "<|end|>", "bos_token": "<|end|>"})
    )


def write_tiny_folder(
    folder: Path,
    shape: TinyShape = TinyShape(),
    *,
    quantised: bool = True,
    last_only: bool = True,
    external: bool = False,
    half: bool = False,
    seed: int = 7,
) -> Path:
    """Write an onnxruntime-genai folder and return it.

    Args:
        external: Put the weights into a file of their own, as importers do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(shape, quantised=quantised, last_only=last_only, half=half, seed=seed)
    onnx.save(
        model,
        folder / "model.onnx",
        save_as_external_data=external,
        location="model.onnx.data",
        size_threshold=64,
    )
    (folder / "genai_config.json").write_text(json.dumps(_config(shape)))
    _write_tokenizer(folder, shape)
    return folder
