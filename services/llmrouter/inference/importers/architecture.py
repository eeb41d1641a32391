"""What an importer knows of a decoder-only checkpoint before its weights are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from llmrouter.inference.importers.rope import Rope

__all__ = ["LAYER_MATRICES", "PRECISIONS", "Activation", "Architecture", "needed_tensors"]

PRECISIONS = ("int8", "int4", "fp32")

LAYER_MATRICES = (
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down",
)  # fmt: skip
"""The matrices of one layer by their names in GGUFs, which are ours for every format."""


class Activation(StrEnum):
    """By what the gate of a feed-forward opens."""

    SILU = "silu"
    """x * sigmoid(x): SwiGLU (Shazeer 2020)."""
    GELU = "gelu"
    """The tanh form of GELU: GeGLU."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shape of a decoder with RMS norm, rotary attention and gated feed-forward.

    Whatever a family adds to Llama's is a field here, so that one writer knows them all.
    """

    name: str
    """The family, as genai's configuration calls it: `llama`, `qwen2`, ..."""
    vocab_size: int
    context: int
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    rope: Rope
    norm_epsilon: float
    rope_interleaved: bool
    """Whether q and k pair neighbours (llama GGUFs) rather than halves (all others)."""
    tied: bool
    """Whether the head is the embedding."""
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    pad_token_id: int | None
    biases: frozenset[str] = frozenset()
    """Which of a layer's matrices are followed by a bias."""
    head_norms: bool = False
    """Whether q and k of every head pass an RMS norm before they are rotated (Qwen3)."""
    output_norms: bool = False
    """Whether attention and feed-forward pass an RMS norm before they are added (Gemma 2)."""
    activation: Activation = Activation.SILU
    embedding_scale: float = 1.0
    """By what embeddings are multiplied (Gemma)."""
    attention_scale: float | None = None
    """By what scores are multiplied; None is 1 / sqrt(head size)."""
    attention_cap: float = 0.0
    """Scores s become cap * tanh(s / cap); 0 leaves them."""
    logits_cap: float = 0.0
    """The same for logits."""
    windows: tuple[int, ...] = field(default=())
    """For each layer how many tokens attention looks back to, the token itself among them; 0 is
    all. Empty when every layer looks at all."""

    @property
    def query_width(self) -> int:
        """Of all heads' queries together."""
        return self.heads * self.head_size

    @property
    def shared_width(self) -> int:
        """Of all heads' keys, or values, together."""
        return self.kv_heads * self.head_size

    def matrix_shape(self, part: str) -> tuple[int, int]:
        """Return [out, in] of one of `LAYER_MATRICES`."""
        wide, inner = self.hidden, self.feed_forward
        return {
            "attn_q": (self.query_width, wide),
            "attn_k": (self.shared_width, wide),
            "attn_v": (self.shared_width, wide),
            "attn_output": (wide, self.query_width),
            "ffn_gate": (inner, wide),
            "ffn_up": (inner, wide),
            "ffn_down": (wide, inner),
        }[part]

    def window(self, layer: int) -> int:
        """Return how far attention of `layer` looks back; 0 is to the beginning."""
        return self.windows[layer] if self.windows else 0


def needed_tensors(model: Architecture) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor that the graph of `model` is made of."""
    needed: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (model.vocab_size, model.hidden),
        "output_norm.weight": (model.hidden,),
    }
    if not model.tied:
        needed["output.weight"] = (model.vocab_size, model.hidden)
    vectors = {"attn_norm": model.hidden, "ffn_norm": model.hidden}
    if model.head_norms:
        vectors |= {"attn_q_norm": model.head_size, "attn_k_norm": model.head_size}
    if model.output_norms:
        vectors |= {"post_attention_norm": model.hidden, "post_ffw_norm": model.hidden}
    for layer in range(model.layers):
        at = f"blk.{layer}"
        needed |= {f"{at}.{part}.weight": model.matrix_shape(part) for part in LAYER_MATRICES}
        needed |= {f"{at}.{part}.weight": (length,) for part, length in vectors.items()}
        needed |= {f"{at}.{part}.bias": model.matrix_shape(part)[:1] for part in model.biases}
    return needed
