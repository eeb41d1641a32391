"""A Llama forward pass in plain numpy: the independent judge of imported graphs.

Written from the papers: RMS norm (Zhang and Sennrich 2019), rotary embedding of neighbouring
pairs (Su et al. 2021), grouped queries (Ainslie et al. 2023), SwiGLU (Shazeer 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from tests.unit.inference.importers.tiny_gguf import Tiny

Array = npt.NDArray[np.float64]


def llama_logits(
    weights: Mapping[str, npt.NDArray[np.float32]], tiny: Tiny, tokens: Sequence[int]
) -> Array:
    """Logits [tokens, vocabulary] in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    state = w["token_embd.weight"][np.array(tokens)]
    for layer in range(tiny.layers):
        at = f"blk.{layer}"
        state = state + _attention(w, tiny, at, _norm(state, w[f"{at}.attn_norm.weight"], tiny))
        normed = _norm(state, w[f"{at}.ffn_norm.weight"], tiny)
        gate = normed @ w[f"{at}.ffn_gate.weight"].T
        up = normed @ w[f"{at}.ffn_up.weight"].T
        state = state + (gate / (1 + np.exp(-gate)) * up) @ w[f"{at}.ffn_down.weight"].T
    head = w.get("output.weight", w["token_embd.weight"])
    return _norm(state, w["output_norm.weight"], tiny) @ head.T


def _norm(state: Array, gain: Array, tiny: Tiny) -> Array:
    return state / np.sqrt(np.mean(state**2, axis=-1, keepdims=True) + tiny.epsilon) * gain


def _attention(w: Mapping[str, Array], tiny: Tiny, at: str, state: Array) -> Array:
    count = len(state)
    query = (state @ w[f"{at}.attn_q.weight"].T).reshape(count, tiny.heads, tiny.head_size)
    key = (state @ w[f"{at}.attn_k.weight"].T).reshape(count, tiny.kv_heads, tiny.head_size)
    value = (state @ w[f"{at}.attn_v.weight"].T).reshape(count, tiny.kv_heads, tiny.head_size)
    query, key = _rotate(query, tiny), _rotate(key, tiny)
    answers = np.zeros((count, tiny.heads, tiny.head_size))
    for head in range(tiny.heads):
        shared = head // (tiny.heads // tiny.kv_heads)
        scores = query[:, head] @ key[:, shared].T / np.sqrt(tiny.head_size)
        scores[np.triu_indices(count, 1)] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        answers[:, head] = shares @ value[:, shared]
    return answers.reshape(count, -1) @ w[f"{at}.attn_output.weight"].T


def _rotate(vectors: Array, tiny: Tiny) -> Array:
    pairs = np.arange(tiny.head_size // 2)
    angles = np.arange(len(vectors))[:, None] * tiny.rope_base ** (-2 * pairs / tiny.head_size)
    turned = vectors[..., 0::2] + 1j * vectors[..., 1::2]
    turned = turned * np.exp(1j * angles)[:, None, :]
    return np.stack([turned.real, turned.imag], axis=-1).reshape(vectors.shape)
