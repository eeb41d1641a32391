"""Importing a GGUF checkpoint of the llama architecture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, dequantize
from numpy.typing import NDArray

from llmrouter.inference.importers.architecture import PRECISIONS, Architecture
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.genai_config import write_genai_config
from llmrouter.inference.importers.gguf_check import bad_file, check_gguf, has_magic
from llmrouter.inference.importers.gguf_fields import GgufFields
from llmrouter.inference.importers.graph import LAYER_NAMES, write_graph
from llmrouter.inference.importers.quantise import BLOCK
from llmrouter.inference.importers.tokenizer_files import (
    PRE_TOKENIZERS,
    Vocabulary,
    write_tokenizer,
)
from llmrouter.inference.models.progress import Progress

__all__ = ["GgufImporter"]

_TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
_MAX_LAYERS = 1024
_MAX_ROTARY = 1 << 26
"""Angles of all positions together: a quarter of a gigabyte, a context of a million at size 64."""
_HEAD_MULTIPLE = 16
"""GroupQueryAttention on the CPU takes head sizes that are multiples of this."""


class GgufImporter:
    """Turns one `.gguf` file into a model folder."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        """Whether `source` looks like a GGUF file."""
        return source.is_file() and (source.suffix == ".gguf" or has_magic(source))

    @classmethod
    def convert(cls, source: Path, target: Path, precision: str, progress: Progress) -> Converted:
        """Write a complete model folder into the existing, empty folder `target`.

        Args:
            source: The GGUF file; untrusted.
            target: Where graph, weights, tokenizer and configuration go.
            precision: One of `int8`, `int4`, `fp32`.
            progress: Called with the layers done.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
        """
        if precision not in PRECISIONS:
            raise bad_file(source, f"cannot become '{precision}'; one of {', '.join(PRECISIONS)}")
        check_gguf(source)
        checkpoint = _Checkpoint(source)
        model = checkpoint.architecture()
        checkpoint.check_tensors(model)
        try:
            write_tokenizer(target, checkpoint.vocabulary())
        except ValueError as error:
            raise bad_file(source, f"has a vocabulary that is refused: {error}") from None
        write_genai_config(target, model)
        parameters = write_graph(
            target, model, checkpoint.weights, precision,
            lambda done, total: progress(f"convert to {precision}", done, total),
        )  # fmt: skip
        return Converted(parameters, checkpoint.licence())


class _Checkpoint:
    """Typed access to a checked GGUF file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._reader = GGUFReader(path)
        except (ValueError, KeyError, IndexError, OSError, UnicodeDecodeError) as error:
            raise bad_file(path, f"cannot be read: {error}") from None
        self._fields = GgufFields(path, self._reader)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def licence(self) -> str:
        """Return the licence the file states."""
        value = self._fields.value("general.license")
        known = isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable()
        return value if known else "unknown"

    def architecture(self) -> Architecture:
        """Read the shape of the model."""
        name = self._fields.text("general.architecture")
        if name != "llama":
            raise bad_file(self._path, f"is of architecture '{name}'; supported is llama")
        self._refuse_unknown_features()
        heads = self._fields.number("llama.attention.head_count", 1024)
        hidden = self._fields.number("llama.embedding_length", 1 << 16)
        head_size = self._fields.number("llama.attention.key_length", 1024, hidden // heads)
        vocab_size = len(self._fields.list("tokenizer.ggml.tokens", str))
        eos = self._fields.number("tokenizer.ggml.eos_token_id", vocab_size - 1, least=0)
        eot = self._fields.token("eot", vocab_size)
        model = Architecture(
            name="llama",
            vocab_size=vocab_size,
            context=self._fields.number("llama.context_length", 1 << 20),
            layers=self._fields.number("llama.block_count", _MAX_LAYERS),
            hidden=hidden,
            feed_forward=self._fields.number("llama.feed_forward_length", 1 << 18),
            heads=heads,
            kv_heads=self._fields.number("llama.attention.head_count_kv", 1024, heads),
            head_size=head_size,
            rope_base=self._fields.real("llama.rope.freq_base", 1.0, 1e12, 10_000.0),
            norm_epsilon=self._fields.real(
                "llama.attention.layer_norm_rms_epsilon", 0.0, 1.0, 1e-5
            ),
            rope_interleaved=True,
            tied="output.weight" not in self._tensors,
            bos_token_id=self._fields.token("bos", vocab_size),
            eos_token_ids=tuple(dict.fromkeys((eos,) if eot is None else (eos, eot))),
            pad_token_id=self._fields.token("padding", vocab_size),
        )
        self._check_shape(model)
        return model

    def _refuse_unknown_features(self) -> None:
        for key in ("llama.rope.scaling.type", "llama.expert_count"):
            value = self._fields.value(key)
            if value not in (None, 0, "none"):
                raise bad_file(self._path, f"has {key} = {value}, which is not supported")

    def _check_shape(self, model: Architecture) -> None:
        """Refuse sizes that the operators do not take, or that the file cannot mean."""
        rules = (
            (model.head_size % _HEAD_MULTIPLE, "a head size", model.head_size, _HEAD_MULTIPLE),
            (model.hidden % BLOCK, "a width", model.hidden, BLOCK),
            (model.feed_forward % BLOCK, "a feed-forward width", model.feed_forward, BLOCK),
            (model.heads * model.head_size % BLOCK, "a query width",
             model.heads * model.head_size, BLOCK),
        )  # fmt: skip
        for wrong, what, value, multiple in rules:
            if wrong:
                raise bad_file(
                    self._path, f"has {what} of {value}; multiples of {multiple} are supported"
                )
        if model.heads % model.kv_heads:
            raise bad_file(
                self._path, f"has {model.heads} heads for {model.kv_heads} key/value heads"
            )
        rotated = self._fields.number("llama.rope.dimension_count", 1024, model.head_size)
        if rotated != model.head_size:
            raise bad_file(
                self._path, f"rotates {rotated} of {model.head_size}; only all is supported"
            )
        if model.context * model.head_size > _MAX_ROTARY:
            raise bad_file(self._path, f"has an absurd context of {model.context} tokens")

    def check_tensors(self, model: Architecture) -> None:
        """Check that every tensor the graph needs is there, in shape and of a known type."""
        query, shared = model.heads * model.head_size, model.kv_heads * model.head_size
        wide, inner = model.hidden, model.feed_forward
        of_layer = dict(
            zip(
                LAYER_NAMES,
                ((wide,), (query, wide), (shared, wide), (shared, wide), (wide, query),
                 (wide,), (inner, wide), (inner, wide), (wide, inner)),
                strict=True,
            )
        )  # fmt: skip
        needed: dict[str, tuple[int, ...]] = {
            "token_embd.weight": (model.vocab_size, wide),
            "output_norm.weight": (wide,),
        }
        if not model.tied:
            needed["output.weight"] = (model.vocab_size, wide)
        for layer in range(model.layers):
            needed |= {f"blk.{layer}.{part}.weight": size for part, size in of_layer.items()}
        for name, size in needed.items():
            self._check_tensor(name, size)
        extra = sorted(set(self._tensors) - set(needed))
        if extra:
            raise bad_file(self._path, f"has the tensor '{extra[0]}', which is not supported")

    def weights(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32, [out, in] for matrices."""
        tensor = self._tensors[name]
        return np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)

    def vocabulary(self) -> Vocabulary:
        """Read the vocabulary."""
        kind, pre = (
            self._fields.text("tokenizer.ggml.model"),
            self._fields.text("tokenizer.ggml.pre"),
        )
        if kind != "gpt2" or pre not in PRE_TOKENIZERS:
            raise bad_file(
                self._path,
                f"has the tokenizer '{kind}' / '{pre}'; supported is gpt2 with one of "
                f"{', '.join(PRE_TOKENIZERS)}",
            )
        tokens = self._fields.list("tokenizer.ggml.tokens", str)
        types = self._fields.list("tokenizer.ggml.token_type", int)
        if len(types) != len(tokens) or len(set(tokens)) != len(tokens):
            raise bad_file(self._path, "has a vocabulary with missing types or repeated tokens")
        template = self._fields.value("tokenizer.chat_template")
        return Vocabulary(
            tokens=tokens,
            types=types,
            merges=self._merges(tokens),
            pre_tokenizer=pre,
            bos=self._fields.token("bos", len(tokens)),
            eos=self._fields.number("tokenizer.ggml.eos_token_id", len(tokens) - 1, least=0),
            pad=self._fields.token("padding", len(tokens)),
            unknown=self._fields.token("unknown", len(tokens)),
            chat_template=template if isinstance(template, str) else None,
        )

    def _merges(self, tokens: list[str]) -> list[str]:
        """Return the merges, each of two known tokens into a third."""
        merges, known = self._fields.list("tokenizer.ggml.merges", str), set(tokens)
        for merge in merges:
            left, _, right = merge.partition(" ")
            if not (left in known and right in known and left + right in known):
                raise bad_file(self._path, f"has the merge {merge[:80]!r} of unknown tokens")
        return merges

    def _check_tensor(self, name: str, shape: tuple[int, ...]) -> None:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise bad_file(self._path, f"lacks the tensor '{name}'")
        found = tuple(int(length) for length in reversed(tensor.shape))
        if found != shape:
            raise bad_file(self._path, f"gives '{name}' the shape {found}; {shape} is needed")
        kind = GGMLQuantizationType(tensor.tensor_type).name
        if kind not in _TYPES:
            raise bad_file(
                self._path, f"stores '{name}' as {kind}; supported are {', '.join(_TYPES)}"
            )
