"""A decoder in the form that CTranslate2's writer takes: its specification, filled with weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from ctranslate2.specs import attention_spec, common_spec, transformer_spec

from llmrouter.inference.importers.architecture import Activation, Architecture, needed_tensors
from llmrouter.inference.importers.rope import plain
from llmrouter.inference.importers.tensors import Floats, Tensors
from llmrouter.inference.models.progress import Progress

__all__ = ["QUANTISATION", "lacking", "unpermute", "written_spec"]

QUANTISATION = {"int8": "int8", "fp32": None}
"""Precision to CTranslate2's name of it; None keeps float32."""
_ACTIVATIONS = {
    Activation.SILU: common_spec.Activation.SWISH,
    Activation.GELU: common_spec.Activation.GELUTanh,
}


def lacking(model: Architecture) -> str | None:
    """Return what of a model CTranslate2 does not compute; None when it computes all."""
    parts = {
        "capped scores": model.attention_cap,
        "capped logits": model.logits_cap,
        "scores of a scale of their own": model.attention_scale is not None,
        "norms behind attention": model.output_norms,
        "layers that look back a part of the way": model.windows,
        "scaled cosines and sines": model.rope.magnitude != 1.0,
    }
    return next((part for part, there in parts.items() if there), None)


def written_spec(
    model: Architecture, tensors: Tensors, precision: str, progress: Progress
) -> tuple[Any, int]:
    """Return the specification with all weights in memory, as the writer wants them, and how many.

    Args:
        model: The shape, in which nothing is `lacking`.
        tensors: The weights.
        precision: For the progress.
        progress: Told of every layer.
    """
    weights = _Weights(model, tensors)
    spec = _spec(model)
    decoder = spec.decoder
    decoder.scale_embeddings = model.embedding_scale != 1.0
    if decoder.scale_embeddings:
        decoder.embeddings.multiply_by_sqrt_depth = np.float32(model.embedding_scale)
    decoder.embeddings.weight = weights.read("token_embd.weight")
    decoder.projection.weight = (
        decoder.embeddings.weight if model.tied else weights.read("output.weight")
    )
    decoder.layer_norm.gamma = weights.read("output_norm.weight")
    for index, layer in enumerate(decoder.layer):
        _fill_layer(layer, model, weights, f"blk.{index}")
        progress(f"convert to {precision}", index + 1, model.layers)
    return spec, weights.count


def unpermute(weights: Floats, heads: int) -> Floats:
    """Return rows of q or k in halves rather than in neighbours.

    GGUFs of the llama architecture pair rows 2i and 2i+1 of a head for its rotation; CTranslate2
    pairs i and i + half. [heads * size, ...] to the same shape.
    """
    paired = weights.reshape(heads, len(weights) // heads // 2, 2, *weights.shape[1:])
    return np.ascontiguousarray(paired.swapaxes(1, 2).reshape(weights.shape))


class _Weights:
    """Reads whole tensors and counts their values."""

    def __init__(self, model: Architecture, tensors: Tensors) -> None:
        self._model, self._tensors = model, tensors
        self._shapes = needed_tensors(model)
        self.count = 0

    def read(self, name: str) -> Floats:
        """Return a tensor."""
        shape = self._shapes[name]
        if len(shape) == 1:
            found = self._tensors.vector(name)
        else:
            # Quantising writes into what it is given; plain numbers come as the file's own pages.
            rows = self._tensors.rows(name, 0, shape[0])
            found = np.require(rows, requirements=["C", "W"])
        self.count += found.size
        return found

    def halved(self, name: str, heads: int) -> Floats:
        """Return what makes q or k, its heads in halves."""
        found = self.read(name)
        return unpermute(found, heads) if self._model.rope_interleaved else found

    def joined(self, at: str, kind: str) -> Floats:
        """Return what makes q, k and v, one below the other; a bias that is missing is 0."""
        model, parts = self._model, []
        for part, heads in (("attn_q", model.heads), ("attn_k", model.kv_heads), ("attn_v", 0)):
            name = f"{at}.{part}.{kind}"
            if name not in self._shapes:
                parts.append(np.zeros(model.matrix_shape(part)[0], np.float32))
            else:
                parts.append(self.halved(name, heads) if heads else self.read(name))
        return np.concatenate(parts)


def _fill_layer(layer: Any, model: Architecture, weights: _Weights, at: str) -> None:
    attention, forward = layer.self_attention, layer.ffn
    attention.layer_norm.gamma = weights.read(f"{at}.attn_norm.weight")
    attention.linear[0].weight = weights.joined(at, "weight")
    if model.biases & {"attn_q", "attn_k", "attn_v"}:
        attention.linear[0].bias = weights.joined(at, "bias")
    if model.head_norms:
        attention.q_norm.gamma = weights.read(f"{at}.attn_q_norm.weight")
        attention.k_norm.gamma = weights.read(f"{at}.attn_k_norm.weight")
    forward.layer_norm.gamma = weights.read(f"{at}.ffn_norm.weight")
    for linear, part in (
        (attention.linear[1], "attn_output"),
        (forward.linear_0, "ffn_gate"),
        (forward.linear_0_noact, "ffn_up"),
        (forward.linear_1, "ffn_down"),
    ):
        linear.weight = weights.read(f"{at}.{part}.weight")
        if part in model.biases:
            linear.bias = weights.read(f"{at}.{part}.bias")
    _stretch(attention, model)


def _spec(model: Architecture) -> Any:
    usual, stretched = model.hidden // model.heads, _factors(model) is not None
    scaling = attention_spec.RotaryScalingType.Su if stretched else None
    return transformer_spec.TransformerDecoderModelSpec.from_config(
        model.layers,
        model.heads,
        activation=_ACTIVATIONS[model.activation],
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,  # all of a head
        rotary_interleave=False,
        rotary_scaling_type=scaling,
        rotary_base=model.rope.base,
        original_max_position_embeddings=model.context if stretched else 0,
        max_position_embeddings=model.context if stretched else 0,
        num_heads_kv=None if model.kv_heads == model.heads else model.kv_heads,
        head_dim=None if model.head_size == usual else model.head_size,
        qk_norm=model.head_norms,
    )


def _factors(model: Architecture) -> Floats | None:
    """Return by what each frequency is divided; None when by nothing."""
    usual = plain(model.rope.base, model.head_size)
    if model.rope == usual:
        return None
    factors = np.divide(usual.frequencies, model.rope.frequencies)
    return np.asarray(factors, np.float32)


def _stretch(attention: Any, model: Architecture) -> None:
    """Stretch the context as LongRoPE does, whose factors can say every other way too.

    Both sets of factors are the same, and the original context is the whole: neither a text's
    length nor a scale of its own changes anything.
    """
    factors = _factors(model)
    if factors is not None:
        attention.rotary_scaling_short_factor = factors
        attention.rotary_scaling_long_factor = factors
