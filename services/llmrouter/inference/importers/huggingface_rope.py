"""Rotary angles as a Hugging Face configuration describes them.

Kinds and their fields: https://huggingface.co/docs/transformers/internal/rope_utils.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from llmrouter.inference.importers import rope
from llmrouter.inference.importers.rope import Rope
from llmrouter.inference.models.untrusted_json import JsonObject

__all__ = ["read_rope"]

_COMMON = frozenset({"rope_type", "type", "rope_theta", "partial_rotary_factor"})
_FIELDS: Mapping[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor", "original_max_position_embeddings"}),
    "llama3": frozenset({
        "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings",
    }),
    "yarn": frozenset({
        "factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow",
    }),
    "longrope": frozenset({
        "factor", "short_factor", "long_factor", "attention_factor",
        "original_max_position_embeddings",
    }),
}  # fmt: skip
"""What each kind is described by; further fields would change what it means."""
_ALSO_CALLED = {"su": "longrope", "none": "default"}
_MAX_TOKENS = 1 << 24


def read_rope(config: JsonObject, head_size: int, context: int) -> tuple[Rope, int]:
    """Return the angles of a model and the context within which they are exact.

    Args:
        config: The folder's config.json.
        head_size: Of which pairs are made.
        context: Positions that the configuration promises.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the field that is wrong or not supported.
    """
    scaling = _scaling(config)
    _check_whole(config if config.has("partial_rotary_factor") else scaling)
    holder = config if scaling is None or not scaling.has("rope_theta") else scaling
    base = holder.number("rope_theta", 1.001, 1e12) if holder.has("rope_theta") else 10_000.0
    turning = rope.plain(base, head_size)
    if scaling is None:
        return turning, context
    kind = _kind(scaling)
    makers: Mapping[str, Callable[[], tuple[Rope, int]]] = {
        "default": lambda: (turning, context),
        # It stretches only texts that are longer than this.
        "dynamic": lambda: (turning, _original(config, scaling, context)),
        "linear": lambda: (rope.linear(turning, _factor(scaling)), context),
        "llama3": lambda: (_llama3(scaling, turning), context),
        "yarn": lambda: (_yarn(config, scaling, turning, context), context),
        "longrope": lambda: _longrope(config, scaling, turning, context),
    }
    return makers[kind]()


def _scaling(config: JsonObject) -> JsonObject | None:
    for name in ("rope_parameters", "rope_scaling"):
        if config.has(name):
            return config.child(name)
    return None


def _check_whole(holder: JsonObject | None) -> None:
    name = "partial_rotary_factor"
    if holder is not None and holder.has(name) and holder.number(name, 0.0, 1.0) != 1.0:
        raise holder.refuse(name, "is below 1; only rotation of whole heads is supported")


def _kind(scaling: JsonObject) -> str:
    name = "rope_type" if scaling.has("rope_type") else "type"
    told = scaling.text(name) if scaling.has(name) else "default"
    kind = _ALSO_CALLED.get(told, told)
    if kind not in _FIELDS:
        raise scaling.refuse(name, f"is {told!r}; supported are {', '.join(_FIELDS)}")
    unknown = sorted(
        one for one in scaling.names if scaling.has(one) and one not in _COMMON | _FIELDS[kind]
    )
    if unknown:
        raise scaling.refuse(unknown[0], f"is not supported beside {name} {told!r}")
    return kind


def _factor(scaling: JsonObject) -> float:
    return scaling.number("factor", 1.0, 1e4)


def _original(config: JsonObject, scaling: JsonObject, context: int) -> int:
    """Return the context of training."""
    name = "original_max_position_embeddings"
    for holder in (scaling, config):
        if holder.has(name):
            return min(holder.integer(name, 1, _MAX_TOKENS), context)
    return context


def _llama3(scaling: JsonObject, turning: Rope) -> Rope:
    low = scaling.number("low_freq_factor", 1e-3, 1e4)
    high = scaling.number("high_freq_factor", 1e-3, 1e4)
    if high <= low:
        raise scaling.refuse("high_freq_factor", "must be above low_freq_factor")
    original = scaling.integer("original_max_position_embeddings", 1, _MAX_TOKENS)
    return rope.llama3(turning, _factor(scaling), low, high, original)


def _yarn(config: JsonObject, scaling: JsonObject, turning: Rope, context: int) -> Rope:
    def number(name: str, default: float) -> float:
        return scaling.number(name, 1e-3, 1e4) if scaling.has(name) else default

    return rope.yarn(
        turning, _factor(scaling), _original(config, scaling, context),
        fast=number("beta_fast", 32.0), slow=number("beta_slow", 1.0),
        magnitude=number("attention_factor", 0.0) or None,
    )  # fmt: skip


def _longrope(
    config: JsonObject, scaling: JsonObject, turning: Rope, context: int
) -> tuple[Rope, int]:
    """Return the angles of texts within the original context, beyond which others would count."""
    original = _original(config, scaling, context)
    factors = scaling.raw("short_factor")
    pairs = len(turning.frequencies)
    usual = isinstance(factors, list) and len(factors) == pairs
    if not usual or not all(type(one) in {int, float} and 1e-3 < one < 1e6 for one in factors):
        raise scaling.refuse("short_factor", f"must be {pairs} numbers")
    if scaling.has("attention_factor"):
        magnitude = scaling.number("attention_factor", 0.1, 10.0)
    else:
        stretched = _factor(scaling) if scaling.has("factor") else context / original
        magnitude = math.sqrt(1 + math.log(max(1.0, stretched)) / math.log(max(2, original)))
    return rope.divided(turning, factors, magnitude), original
