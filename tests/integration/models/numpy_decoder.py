"""A forward pass in plain numpy, float64: the independent judge of imported models.

Written from the papers and from transformers' description of each family: RMS norm (Zhang and
Sennrich 2019), rotary embedding of halves (Su et al. 2021), grouped queries (Ainslie et al. 2023),
gated units (Shazeer 2020), stretched contexts (Chen et al. 2023, Peng et al. 2023, Ding et al.
2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from tests.integration.models.tiny_decoder import Decoder

Array = npt.NDArray[np.float64]


def decoder_logits(
    weights: Mapping[str, npt.NDArray[np.float32]], decoder: Decoder, tokens: Sequence[int]
) -> Array:
    """Logits [tokens, vocabulary]."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    state = w["token_embd.weight"][np.array(tokens)]
    if decoder.scaled_embedding:
        state = state * math.sqrt(decoder.hidden)
    for layer in range(decoder.layers):
        at = f"blk.{layer}"
        answer = _attention(w, decoder, layer, _norm(state, w[f"{at}.attn_norm.weight"], decoder))
        if decoder.output_norms:
            answer = _norm(answer, w[f"{at}.post_attention_norm.weight"], decoder)
        state = state + answer
        normed = _norm(state, w[f"{at}.ffn_norm.weight"], decoder)
        gate = _linear(w, f"{at}.ffn_gate", normed)
        active = _gelu(gate) if decoder.gelu else gate / (1 + np.exp(-gate))
        answer = _linear(w, f"{at}.ffn_down", active * _linear(w, f"{at}.ffn_up", normed))
        if decoder.output_norms:
            answer = _norm(answer, w[f"{at}.post_ffw_norm.weight"], decoder)
        state = state + answer
    head = w.get("output.weight", w["token_embd.weight"])
    logits = _norm(state, w["output_norm.weight"], decoder) @ head.T
    return _capped(logits, decoder.logits_cap)


def _linear(w: Mapping[str, Array], name: str, state: Array) -> Array:
    return state @ w[f"{name}.weight"].T + w.get(f"{name}.bias", np.zeros(1))


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _capped(values: Array, cap: float) -> Array:
    return np.tanh(values / cap) * cap if cap else values


def _norm(state: Array, gain: Array, decoder: Decoder) -> Array:
    size = np.sqrt(np.mean(state**2, axis=-1, keepdims=True) + decoder.epsilon)
    return state / size * (gain + decoder.gain)


def _attention(w: Mapping[str, Array], decoder: Decoder, layer: int, state: Array) -> Array:
    count, at = len(state), f"blk.{layer}"
    query = _linear(w, f"{at}.attn_q", state).reshape(count, decoder.heads, -1)
    key = _linear(w, f"{at}.attn_k", state).reshape(count, decoder.kv_heads, -1)
    value = _linear(w, f"{at}.attn_v", state).reshape(count, decoder.kv_heads, -1)
    if decoder.head_norms:
        query = _norm(query, w[f"{at}.attn_q_norm.weight"], decoder)
        key = _norm(key, w[f"{at}.attn_k_norm.weight"], decoder)
    query, key = _rotate(query, decoder), _rotate(key, decoder)
    distance = np.arange(count)[:, None] - np.arange(count)[None, :]
    window = decoder.windows[layer] if decoder.windows else 0
    hidden = (distance < 0) | ((distance >= window) if window else False)
    scale = decoder.head_size**-0.5 if decoder.score_scale is None else decoder.score_scale
    answers = np.zeros_like(query)
    for head in range(decoder.heads):
        shared = head // (decoder.heads // decoder.kv_heads)
        scores = _capped(query[:, head] @ key[:, shared].T * scale, decoder.score_cap)
        scores[hidden] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        answers[:, head] = shares / shares.sum(axis=1, keepdims=True) @ value[:, shared]
    return _linear(w, f"{at}.attn_output", answers.reshape(count, -1))


def _rotate(vectors: Array, decoder: Decoder) -> Array:
    frequencies, magnitude = _angles(decoder)
    angles = np.arange(len(vectors))[:, None, None] * frequencies
    cosine, sine = np.cos(angles) * magnitude, np.sin(angles) * magnitude
    first, second = np.split(vectors, 2, axis=-1)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def _angles(decoder: Decoder) -> tuple[Array, float]:
    size, base = decoder.head_size, decoder.base
    usual = 1 / base ** (np.arange(0, size, 2) / size)
    scaling = decoder.scaling or {}
    kind, factor = scaling.get("rope_type", scaling.get("type")), scaling.get("factor", 1.0)
    original = scaling.get("original_max_position_embeddings", 64)
    if kind == "linear":
        return usual / factor, 1.0
    if kind == "llama3":
        wavelength = 2 * math.pi / usual
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        smooth = (original / wavelength - low) / (high - low)
        blended = (1 - smooth) * usual / factor + smooth * usual
        slow, quick = wavelength > original / low, wavelength < original / high
        return np.where(slow, usual / factor, np.where(quick, usual, blended)), 1.0
    if kind == "yarn":
        ends = [
            size * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
            for turns in (32, 1)
        ]
        low, high = max(math.floor(ends[0]), 0), min(math.ceil(ends[1]), size - 1)
        ramp = np.clip((np.arange(size // 2) - low) / (high - low), 0, 1)
        return usual / factor * ramp + usual * (1 - ramp), 0.1 * math.log(factor) + 1
    if kind == "longrope":
        stretched = decoder.context / original
        magnitude = math.sqrt(1 + math.log(stretched) / math.log(original))
        return usual / np.array(scaling["short_factor"]), magnitude
    return usual, 1.0
