"""One layer of a decoder as nodes: attention and feed-forward, with what families add to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llmrouter.inference.importers.architecture import Activation, Architecture
from llmrouter.inference.importers.bit_plan import planned_bits
from llmrouter.inference.importers.matrices import Matrices, Stack
from llmrouter.inference.importers.nodes import CONTRIB, Nodes
from llmrouter.inference.importers.tensors import Floats, Tensors

__all__ = ["LayerWriter", "Stream"]

_NORM = "SimplifiedLayerNormalization"


class Stream(NamedTuple):
    """What runs from layer to layer: names of tensors [batch, sequence, hidden]."""

    residual: str
    """The sum of all so far."""
    normed: str
    """The same after the norm that comes next."""


class LayerWriter:
    """Writes the layers of one model."""

    def __init__(
        self, model: Architecture, tensors: Tensors, matrices: Matrices, nodes: Nodes
    ) -> None:
        self._arch, self._tensors = model, tensors
        self._matrices, self._nodes = matrices, nodes

    def first(self, embedded: str) -> Stream:
        """Return the stream that enters layer 0."""
        return Stream(embedded, self._norm(embedded, "blk.0.attn_norm"))

    def write(self, index: int, stream: Stream) -> Stream:
        """Write layer `index` and return the stream behind it."""
        at, last = f"blk.{index}", index + 1 == self._arch.layers
        attended = self._attention(index, stream.normed)
        projected = self._product(f"{at}.attn_output", [f"{at}.attn_output"], attended)
        if self._arch.output_norms:
            projected = self._norm(projected, f"{at}.post_attention_norm")
        stream = self._add_and_norm(stream, projected, f"{at}.ffn_norm")
        down = self._feed_forward(at, stream.normed)
        if self._arch.output_norms:
            down = self._norm(down, f"{at}.post_ffw_norm")
        following = "output_norm" if last else f"blk.{index + 1}.attn_norm"
        return self._add_and_norm(stream, down, following)

    def _attention(self, index: int, source: str) -> str:
        arch, at = self._arch, f"blk.{index}"
        if arch.head_norms:
            query, key, value = (
                self._product(f"{at}.attn_{part}", [f"{at}.attn_{part}"], source) for part in "qkv"
            )
            query = self._head_norm(query, f"{at}.attn_q_norm", arch.query_width)
            key = self._head_norm(key, f"{at}.attn_k_norm", arch.shared_width)
        else:
            parts = [f"{at}.attn_{part}" for part in "qkv"]
            query, key, value = self._product(f"{at}.attn_qkv", parts, source), "", ""
        scale = arch.attention_scale
        special: dict[str, float] = {}
        if arch.attention_cap:
            special["softcap"] = arch.attention_cap
        if arch.window(index):
            special["local_window_size"] = arch.window(index)
        output = f"{at}.attended"
        self._nodes.add_many(
            "GroupQueryAttention",
            [
                query, key, value,
                f"past_key_values.{index}.key", f"past_key_values.{index}.value",
                "lengths", "total", "cos_cache", "sin_cache",
            ],
            [output, f"present.{index}.key", f"present.{index}.value"],
            domain=CONTRIB,
            num_heads=arch.heads,
            kv_num_heads=arch.kv_heads,
            do_rotary=1,
            rotary_interleaved=int(arch.rope_interleaved),
            scale=float(arch.head_size**-0.5 if scale is None else scale),
            **special,
        )  # fmt: skip
        return output

    def _feed_forward(self, at: str, source: str) -> str:
        gate = self._product(f"{at}.ffn_gate", [f"{at}.ffn_gate"], source)
        up = self._product(f"{at}.ffn_up", [f"{at}.ffn_up"], source)
        if self._arch.activation is Activation.SILU:
            # QuickGelu with alpha 1 is SiLU in one operator.
            active = self._nodes.add("QuickGelu", [gate], domain=CONTRIB, alpha=1.0)
        else:
            active = self._nodes.add("FastGelu", [gate], domain=CONTRIB)
        gated = self._nodes.add("Mul", [active, up])
        return self._product(f"{at}.ffn_down", [f"{at}.ffn_down"], gated)

    def _product(self, name: str, parts: list[str], source: str) -> str:
        """Multiply by the matrices `parts`, one above the other, and add their biases."""
        layer, kinds = int(name.split(".")[1]), [part.rpartition(".")[2] for part in parts]
        shapes = [self._arch.matrix_shape(kind) for kind in kinds]
        rows = tuple(
            (f"{part}.weight", shape[0]) for part, shape in zip(parts, shapes, strict=True)
        )
        bits = planned_bits(self._matrices.precision, kinds[0], layer, self._arch.layers)
        product = self._matrices.product(Stack(name, rows, shapes[0][1]), source, bits)
        if self._arch.biases.isdisjoint(kinds):
            return product
        bias: Floats = np.concatenate(
            [
                self._tensors.vector(f"{part}.bias")
                if kind in self._arch.biases
                else np.zeros(count, np.float32)
                for part, kind, (_, count) in zip(parts, kinds, rows, strict=True)
            ]
        )
        return self._nodes.add("Add", [product, self._nodes.constant(f"{name}.bias", bias)])

    def _head_norm(self, vectors: str, gain: str, width: int) -> str:
        """Norm each head of [batch, sequence, width] by itself."""
        heads = self._nodes.add(
            "Reshape", [vectors, self._nodes.integers(0, 0, -1, self._arch.head_size)]
        )
        normed = self._norm(heads, gain)
        return self._nodes.add("Reshape", [normed, self._nodes.integers(0, 0, width)])

    def _norm(self, source: str, gain: str) -> str:
        return self._nodes.add(
            _NORM, [source, self._vector(gain)], axis=-1, epsilon=self._arch.norm_epsilon,
            stash_type=1,
        )  # fmt: skip

    def _add_and_norm(self, stream: Stream, added: str, gain: str) -> Stream:
        following = Stream(f"{gain}.residual", f"{gain}.normed")
        self._nodes.add_many(
            "SkipSimplifiedLayerNormalization",
            [stream.residual, added, self._vector(gain)],
            [following.normed, "", "", following.residual],
            domain=CONTRIB,
            epsilon=self._arch.norm_epsilon,
        )
        return following

    def _vector(self, name: str) -> str:
        weight = f"{name}.weight"
        return self._nodes.constant(weight, self._tensors.vector(weight))
