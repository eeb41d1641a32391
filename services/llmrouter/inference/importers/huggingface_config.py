"""From a Hugging Face config.json to the shape of its decoder, for every family known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmrouter.inference.importers.architecture import LAYER_MATRICES, Activation, Architecture
from llmrouter.inference.importers.huggingface_rope import read_rope
from llmrouter.inference.importers.shape_rules import broken_rule
from llmrouter.inference.models.untrusted_json import JsonObject

__all__ = ["FAMILIES", "Family", "read_architecture", "read_family"]

_MAX_LAYERS = 1024
_MAX_TOKENS = 1 << 20
_MAX_VOCABULARY = 2_000_000


@dataclass(frozen=True, slots=True)
class Family:
    """What a `model_type` means beside its sizes."""

    name: str
    activation: Activation = Activation.SILU
    head_norms: bool = False
    output_norms: bool = False
    caps: bool = False
    """Whether scores and logits are capped."""
    scaled_embedding: bool = False
    norm_offset: float = 0.0
    """What is added to the gains of norms."""
    tied: bool = False
    """Where the configuration does not say."""
    head_size: int | None = None
    """The same; None is the width per head."""
    window: int | None = None
    """Of sliding windows where the configuration does not say; None is without."""


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("llama"),
        Family("mistral", window=4096),
        Family("qwen2"),
        Family("qwen3", head_norms=True, head_size=128),
        Family("gemma", Activation.GELU, scaled_embedding=True, norm_offset=1.0, tied=True,
               head_size=256),
        Family("gemma2", Activation.GELU, output_norms=True, caps=True, scaled_embedding=True,
               norm_offset=1.0, tied=True, head_size=256, window=4096),
        Family("phi3"),
    )
}  # fmt: skip
"""By `model_type`; SmolLM's folders say llama."""

_ACTIVATIONS = {
    Activation.SILU: {"silu", "swish"},
    # Gemma says `gelu` and means its tanh form.
    Activation.GELU: {"gelu", "gelu_pytorch_tanh"},
}


def read_family(config: JsonObject) -> Family:
    """Return the family of a folder, and refuse what is no decoder of it.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the field, and what is supported.
    """
    kind = config.text("model_type")
    if kind not in FAMILIES:
        raise config.refuse("model_type", f"is {kind!r}; supported are {', '.join(FAMILIES)}")
    classes = config.raw("architectures")
    if (
        isinstance(classes, list)
        and classes
        and not any(isinstance(one, str) and one.endswith("ForCausalLM") for one in classes)
    ):
        raise config.refuse("architectures", f"is {classes[:3]!r}; only ...ForCausalLM generate")
    if config.has("quantization_config"):
        raise config.refuse(
            "quantization_config",
            "is there; quantised folders are not read: import the model's original weights",
        )
    family = FAMILIES[kind]
    for name in ("hidden_activation", "hidden_act"):
        if config.has(name):
            if config.text(name) not in _ACTIVATIONS[family.activation]:
                known = ", ".join(sorted(_ACTIVATIONS[family.activation]))
                raise config.refuse(name, f"is {config.text(name)!r}; {kind} has {known} here")
            break
    return family


def read_architecture(
    config: JsonObject, family: Family, ends: Sequence[int], names: frozenset[str]
) -> Architecture:
    """Return the shape of the model.

    Args:
        config: The folder's config.json.
        family: What `read_family` gave for it.
        ends: Tokens that end an answer.
        names: Of the tensors in its files, by which biases are found.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the field that is wrong or not supported.
    """
    model = _described(config, family, ends, names)
    problem = broken_rule(model)
    if problem:
        raise config.refuse("", f"has {problem}")
    return model


def _described(
    config: JsonObject, family: Family, ends: Sequence[int], names: frozenset[str]
) -> Architecture:
    heads = config.integer("num_attention_heads", 1, 1024)
    hidden = config.integer("hidden_size", 1, 1 << 16)
    head_size = _head_size(config, family, hidden, heads)
    layers = config.integer("num_hidden_layers", 1, _MAX_LAYERS)
    promised = config.integer("max_position_embeddings", 1, _MAX_TOKENS)
    rope, context = read_rope(config, head_size, promised)
    vocab_size = config.integer("vocab_size", 1, _MAX_VOCABULARY)
    return Architecture(
        name=family.name,
        vocab_size=vocab_size,
        context=context,
        layers=layers,
        hidden=hidden,
        feed_forward=config.integer("intermediate_size", 1, 1 << 18),
        heads=heads,
        kv_heads=_whole(config, "num_key_value_heads", 1024, heads),
        head_size=head_size,
        rope=rope,
        norm_epsilon=config.number("rms_norm_eps", 0.0, 1.0),
        rope_interleaved=False,
        tied=_tied(config, family),
        bos_token_id=_token(config, "bos_token_id", vocab_size),
        eos_token_ids=tuple(ends),
        pad_token_id=_token(config, "pad_token_id", vocab_size),
        biases=_biases(names),
        head_norms=family.head_norms,
        output_norms=family.output_norms,
        activation=family.activation,
        embedding_scale=hidden**0.5 if family.scaled_embedding else 1.0,
        attention_scale=_attention_scale(config),
        attention_cap=_cap(config, family, "attn_logit_softcapping", 50.0),
        logits_cap=_cap(config, family, "final_logit_softcapping", 30.0),
        windows=_windows(config, family, layers, context),
    )


def _whole(config: JsonObject, name: str, most: int, default: int) -> int:
    return config.integer(name, 1, most) if config.has(name) else default


def _head_size(config: JsonObject, family: Family, hidden: int, heads: int) -> int:
    return _whole(config, "head_dim", 1024, family.head_size or hidden // heads)


def _tied(config: JsonObject, family: Family) -> bool:
    name = "tie_word_embeddings"
    return config.flag(name) if config.has(name) else family.tied


def _token(config: JsonObject, name: str, size: int) -> int | None:
    """Return a special token; None where it is missing or none of the vocabulary."""
    value = config.raw(name)
    return value if type(value) is int and 0 <= value < size else None


def _biases(names: frozenset[str]) -> frozenset[str]:
    """Return the matrices of a layer that have a bias, by the names in the files."""
    inside = dict.fromkeys(LAYER_MATRICES[:4], "self_attn") | dict.fromkeys(
        LAYER_MATRICES[4:], "mlp"
    )
    theirs = {
        "attn_q": "q_proj", "attn_k": "k_proj", "attn_v": "v_proj", "attn_output": "o_proj",
        "ffn_gate": "gate_proj", "ffn_up": "up_proj", "ffn_down": "down_proj",
    }  # fmt: skip
    return frozenset(
        part
        for part in LAYER_MATRICES
        if f"model.layers.0.{inside[part]}.{theirs[part]}.bias" in names
    )


def _attention_scale(config: JsonObject) -> float | None:
    name = "query_pre_attn_scalar"
    return float(config.number(name, 1e-3, 1e6) ** -0.5) if config.has(name) else None


def _cap(config: JsonObject, family: Family, name: str, default: float) -> float:
    """Return a cap; a configuration that says null has none."""
    if not family.caps or (name in config.names and not config.has(name)):
        return 0.0
    return config.number(name, 1e-3, 1e6) if config.has(name) else default


def _windows(config: JsonObject, family: Family, layers: int, context: int) -> tuple[int, ...]:
    """Return how far each layer looks back."""
    name = "sliding_window"
    silent = family.window if name not in config.names else None
    size = config.integer(name, 1, 1 << 24) if config.has(name) else silent
    if size is None or size >= context:
        return ()
    sliding = _sliding(config, family, layers)
    return tuple(size if one else 0 for one in sliding) if any(sliding) else ()


def _sliding(config: JsonObject, family: Family, layers: int) -> list[bool]:
    """Return which layers look no further back than the window."""
    if config.has("layer_types"):
        kinds = config.raw("layer_types")
        known = {"full_attention": False, "sliding_attention": True}
        usual = isinstance(kinds, list) and len(kinds) == layers
        if not usual or not all(isinstance(one, str) and one in known for one in kinds):
            raise config.refuse("layer_types", f"must be {layers} of {', '.join(known)}")
        return [known[one] for one in kinds]
    if family.name in {"qwen2", "qwen3"}:
        first = _whole(config, "max_window_layers", 1 << 20, 28)
        used = config.flag("use_sliding_window")
        return [used and layer >= first for layer in range(layers)]
    if family.name == "gemma2":
        return [layer % 2 == 0 for layer in range(layers)]
    return [family.name in {"mistral", "phi3"}] * layers
