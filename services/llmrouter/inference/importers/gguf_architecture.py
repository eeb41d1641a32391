"""From a GGUF's metadata to the shape of its decoder, for every family known here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmrouter.inference.importers import rope
from llmrouter.inference.importers.architecture import LAYER_MATRICES, Activation, Architecture
from llmrouter.inference.importers.gguf_fields import GgufFields
from llmrouter.inference.importers.gguf_tensors import GgufTensors
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.importers.rope import Rope
from llmrouter.inference.importers.shape_rules import broken_rule
from llmrouter.inference.importers.tokenizer_files import CONTROL, Vocabulary

__all__ = ["FAMILIES", "read_architecture"]

FAMILIES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "phi3")
"""What `general.architecture` may say; Mistral's and SmolLM's files say llama."""

_MAX_LAYERS = 1024
_UNKNOWN_KEYS = ("expert_count", "attention.value_length_mla", "attention.q_lora_rank")
_ENDS = frozenset({
    "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>",
})  # fmt: skip
"""Control tokens that end a turn or a text wherever they are; files name only one of them."""
_GEMMA2_LARGEST_LAYERS = 46
"""The one Gemma 2 whose scores are scaled by the width per head rather than by its size."""


def read_architecture(
    path: Path, fields: GgufFields, words: Vocabulary, tensors: GgufTensors
) -> Architecture:
    """Read and check the shape of the model.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the field that is wrong or not supported.
    """
    name = fields.text("general.architecture")
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise bad_file(path, f"is of architecture '{name}'; supported are {known}")
    model = _Reader(path, name, fields, tensors).read(words)
    problem = broken_rule(model)
    if problem:
        raise bad_file(path, f"has {problem}")
    return model


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the fields below one architecture's name."""

    path: Path
    name: str
    fields: GgufFields
    tensors: GgufTensors

    def read(self, words: Vocabulary) -> Architecture:
        self._refuse_unknown()
        heads = self._number("attention.head_count", 1024)
        hidden = self._number("embedding_length", 1 << 16)
        head_size = self._number("attention.key_length", 1024, hidden // heads)
        context = self._number("context_length", 1 << 20)
        turning, context = self._rope(head_size, context)
        layers = self._number("block_count", _MAX_LAYERS)
        vocab_size, gemma = len(words.tokens), self.name.startswith("gemma")
        return Architecture(
            name=self.name,
            vocab_size=vocab_size,
            context=context,
            layers=layers,
            hidden=hidden,
            feed_forward=self._number("feed_forward_length", 1 << 18),
            heads=heads,
            kv_heads=self._number("attention.head_count_kv", 1024, heads),
            head_size=head_size,
            rope=turning,
            norm_epsilon=self._real("attention.layer_norm_rms_epsilon", 0.0, 1.0, 1e-5),
            rope_interleaved=self.name == "llama",
            tied="output.weight" not in self.tensors.names,
            bos_token_id=words.bos,
            eos_token_ids=self._ends(words),
            pad_token_id=words.pad,
            biases=self._biases(),
            head_norms=self.name == "qwen3",
            output_norms=self.name == "gemma2",
            activation=Activation.GELU if gemma else Activation.SILU,
            embedding_scale=hidden**0.5 if gemma else 1.0,
            attention_scale=self._attention_scale(layers, hidden, heads),
            attention_cap=self._cap("attn_logit_softcapping", 50.0),
            logits_cap=self._cap("final_logit_softcapping", 30.0),
            windows=self._windows(layers, context),
        )

    def _ends(self, words: Vocabulary) -> tuple[int, ...]:
        """Return the tokens that end an answer: the one told, then those known by their text."""
        turn = self.fields.token("eot", len(words.tokens))
        known = [
            index
            for index, (token, kind) in enumerate(zip(words.tokens, words.types, strict=True))
            if token in _ENDS and kind == CONTROL
        ]
        return tuple(dict.fromkeys([words.eos, *([] if turn is None else [turn]), *known]))

    def _refuse_unknown(self) -> None:
        for key in _UNKNOWN_KEYS:
            value = self.fields.value(f"{self.name}.{key}")
            if value not in (None, 0):
                problem = f"has {self.name}.{key} = {value}, which is not supported"
                raise bad_file(self.path, problem)

    def _biases(self) -> frozenset[str]:
        return frozenset(
            part for part in LAYER_MATRICES if f"blk.0.{part}.bias" in self.tensors.names
        )

    def _attention_scale(self, layers: int, hidden: int, heads: int) -> float | None:
        largest = self.name == "gemma2" and layers == _GEMMA2_LARGEST_LAYERS
        return float((hidden / heads) ** -0.5) if largest else None

    def _cap(self, key: str, default: float) -> float:
        return self._real(key, 1e-3, 1e6, default) if self.name == "gemma2" else 0.0

    def _windows(self, layers: int, context: int) -> tuple[int, ...]:
        """Return how far each layer looks back: Gemma 2 alternates, Phi-3 always looks as far."""
        if self.name not in {"gemma2", "phi3"}:
            return ()
        default = 4096 if self.name == "gemma2" else 0
        window = self._number("attention.sliding_window", 1 << 24, default, least=0)
        if not 0 < window < context:
            return ()
        every = self.name == "phi3"
        return tuple(window if every or layer % 2 == 0 else 0 for layer in range(layers))

    def _rope(self, head_size: int, context: int) -> tuple[Rope, int]:
        """Return the angles, and the context within which they are exact."""
        rotated = self._number("rope.dimension_count", 1024, head_size)
        if rotated != head_size:
            problem = f"rotates {rotated} of {head_size}; only all is supported"
            raise bad_file(self.path, problem)
        base = self._real("rope.freq_base", 1.001, 1e12, 10_000.0)
        turning = rope.plain(base, head_size)
        if "rope_freqs.weight" in self.tensors.names:
            return rope.divided(turning, self._factors("rope_freqs.weight", head_size)), context
        if "rope_factors_short.weight" in self.tensors.names:
            return self._short_factors(turning, head_size, context)
        kind = self.fields.value(f"{self.name}.rope.scaling.type")
        known: dict[object, Callable[[], Rope]] = {
            None: lambda: turning,
            "none": lambda: turning,
            "linear": lambda: rope.linear(turning, self._factor()),
            "yarn": lambda: self._yarn(turning, context),
        }
        if kind not in known:
            key = f"{self.name}.rope.scaling.type"
            problem = f"has {key} = {kind!r}; supported are none, linear and yarn"
            raise bad_file(self.path, problem)
        return known[kind](), context

    def _short_factors(self, turning: Rope, head_size: int, context: int) -> tuple[Rope, int]:
        """Return Phi-3's angles within its original context, beyond which others would count."""
        original = min(context, self._original(context))
        factors = self._factors("rope_factors_short.weight", head_size)
        return rope.divided(turning, factors, self._attention_factor()), original

    def _yarn(self, turning: Rope, context: int) -> Rope:
        made = rope.yarn(turning, self._factor(), self._original(context))
        return replace(made, magnitude=made.magnitude * self._attention_factor())

    def _factors(self, name: str, head_size: int) -> Sequence[float]:
        fits = self.tensors.length(name) == head_size // 2
        factors = [float(one) for one in self.tensors.vector(name).ravel()] if fits else []
        if not factors or not all(1e-3 < one < 1e6 for one in factors):
            raise bad_file(self.path, f"has no {head_size // 2} usable factors in '{name}'")
        return factors

    def _attention_factor(self) -> float:
        return self._real("rope.scaling.attn_factor", 0.1, 10.0, 1.0)

    def _factor(self) -> float:
        old, key = f"{self.name}.rope.scale_linear", f"{self.name}.rope.scaling.factor"
        return self.fields.real(key if self.fields.value(old) is None else old, 1.0, 1e4)

    def _original(self, context: int) -> int:
        return self._number("rope.scaling.original_context_length", 1 << 20, context)

    def _number(self, key: str, most: int, default: int | None = None, *, least: int = 1) -> int:
        return self.fields.number(f"{self.name}.{key}", most, default, least=least)

    def _real(self, key: str, low: float, high: float, default: float) -> float:
        return self.fields.real(f"{self.name}.{key}", low, high, default)
