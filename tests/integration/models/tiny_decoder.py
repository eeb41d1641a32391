"""Random decoders of every family, small enough for a test, in transformers' conventions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Decoder:
    """What a family's model computes; weights are [out, in] and heads pair their halves."""

    family: str
    """transformers' `model_type`."""
    hidden: int = 64
    feed_forward: int = 96
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    layers: int = 2
    context: int = 256
    vocabulary: int = 264
    base: float = 5000.0
    scaling: dict[str, Any] | None = None
    """`rope_scaling` of the configuration."""
    epsilon: float = 1e-5
    tied: bool = True
    biases: tuple[str, ...] = ()
    head_norms: bool = False
    output_norms: bool = False
    gelu: bool = False
    gain: float = 0.0
    """What is added to the gains of norms."""
    scaled_embedding: bool = False
    score_scale: float | None = None
    score_cap: float = 0.0
    logits_cap: float = 0.0
    windows: tuple[int, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    """What config.json says beside the sizes."""
    fields: dict[str, Any] = field(default_factory=dict)
    """What a GGUF says beside the sizes, below the architecture's name."""


_GEMMA = {
    "head_size": 32, "gelu": True, "gain": 1.0, "scaled_embedding": True,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONGROPE = {
    "type": "longrope", "short_factor": [1.0 + 0.1 * i for i in range(8)],
    "long_factor": [2.0] * 8,
}  # fmt: skip

DECODERS = {
    "llama": Decoder("llama"),
    "llama-untied": Decoder("llama", tied=False, kv_heads=4),
    "llama-wide-heads": Decoder("llama", head_size=32, kv_heads=1),
    "llama-linear": Decoder("llama", scaling={"type": "linear", "factor": 2.0}),
    "llama-llama3": Decoder("llama", scaling=LLAMA3),
    "llama-biases": Decoder("llama", biases=("attn_q", "attn_k", "attn_v", "attn_output")),
    "mistral": Decoder("mistral", tied=False, config={"sliding_window": None}),
    "mistral-window": Decoder("mistral", windows=(8, 8), config={"sliding_window": 8}),
    "qwen2": Decoder("qwen2", biases=("attn_q", "attn_k", "attn_v")),
    "qwen2-yarn": Decoder("qwen2", biases=("attn_q", "attn_k", "attn_v"), scaling=YARN),
    "qwen3": Decoder(
        "qwen3", head_norms=True, head_size=32, kv_heads=4, config={"head_dim": 32}, tied=False
    ),
    "gemma": Decoder("gemma", **_GEMMA, config={"head_dim": 32, "hidden_act": "gelu"}),
    "gemma2": Decoder(
        "gemma2", **_GEMMA, output_norms=True, score_scale=24**-0.5, score_cap=5.0, logits_cap=8.0,
        windows=(8, 0), layers=2,
        config={
            "head_dim": 32, "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 8,
            "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0,
            "query_pre_attn_scalar": 24,
        },
    ),
    "phi3": Decoder(
        "phi3", tied=False, kv_heads=4, windows=(8, 8), config={"sliding_window": 8}
    ),
    "phi3-longrope": Decoder(
        "phi3", tied=False, kv_heads=4, scaling=LONGROPE,
        config={"original_max_position_embeddings": 64},
    ),
}  # fmt: skip


def in_gguf(decoder: Decoder) -> Decoder:
    """The same model as far as a GGUF can say it: Gemma 2's scale follows from its size."""
    return replace(decoder, score_scale=None) if decoder.family == "gemma2" else decoder


def random_weights(decoder: Decoder, seed: int = 3) -> dict[str, Array]:
    """Weights by the names of the GGUF convention."""
    random = np.random.default_rng(seed)
    query, shared = decoder.heads * decoder.head_size, decoder.kv_heads * decoder.head_size
    wide, inner = decoder.hidden, decoder.feed_forward

    def matrix(rows: int, columns: int, spread: float) -> Array:
        return random.normal(0, spread, (rows, columns)).astype(np.float32)

    def gains(length: int) -> Array:
        return random.normal(1 - decoder.gain, 0.1, length).astype(np.float32)

    spread = 0.6 / (decoder.hidden**0.5 if decoder.scaled_embedding else 1.0)
    made = {"token_embd.weight": matrix(decoder.vocabulary, wide, spread)}
    made["output_norm.weight"] = gains(wide)
    if not decoder.tied:
        made["output.weight"] = matrix(decoder.vocabulary, wide, 0.6)
    shapes = {
        "attn_q": (query, wide), "attn_k": (shared, wide), "attn_v": (shared, wide),
        "attn_output": (wide, query), "ffn_gate": (inner, wide), "ffn_up": (inner, wide),
        "ffn_down": (wide, inner),
    }  # fmt: skip
    norms = {"attn_norm": wide, "ffn_norm": wide}
    if decoder.head_norms:
        norms |= {"attn_q_norm": decoder.head_size, "attn_k_norm": decoder.head_size}
    if decoder.output_norms:
        norms |= {"post_attention_norm": wide, "post_ffw_norm": wide}
    for layer in range(decoder.layers):
        at = f"blk.{layer}"
        made |= {f"{at}.{name}.weight": matrix(*shape, 0.25) for name, shape in shapes.items()}
        made |= {f"{at}.{name}.weight": gains(length) for name, length in norms.items()}
        made |= {
            f"{at}.{name}.bias": random.normal(0, 0.5, shapes[name][0]).astype(np.float32)
            for name in decoder.biases
        }
    return made
