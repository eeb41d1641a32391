"""Importing a GGUF checkpoint of the llama architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, dequantize
from numpy.typing import NDArray

from llmrouter.inference.importers.architecture import PRECISIONS, Architecture
from llmrouter.inference.importers.genai_config import write_genai_config
from llmrouter.inference.importers.gguf_check import bad_file, check_gguf
from llmrouter.inference.importers.graph import LAYER_NAMES, write_graph
from llmrouter.inference.importers.quantise import BLOCKS
from llmrouter.inference.importers.tokenizer_files import (
    PRE_TOKENIZERS,
    Vocabulary,
    write_tokenizer,
)
from llmrouter.inference.models.progress import Progress

__all__ = ["GgufImporter"]

_TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
_MAX_LAYERS = 1024
_HEAD_MULTIPLE = 16
"""GroupQueryAttention on the CPU takes head sizes that are multiples of this."""


class GgufImporter:
    """Turns one `.gguf` file into a model folder."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        """Whether `source` looks like a GGUF file."""
        return source.is_file() and source.suffix == ".gguf"

    @classmethod
    def convert(cls, source: Path, target: Path, precision: str, progress: Progress) -> int:
        """Write a complete model folder into the existing, empty folder `target`.

        Args:
            source: The GGUF file; untrusted.
            target: Where graph, weights, tokenizer and configuration go.
            precision: One of `int8`, `int4`, `fp32`.
            progress: Called with the layers done.

        Returns:
            The number of parameters.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
        """
        if precision not in PRECISIONS:
            raise bad_file(source, f"cannot become '{precision}'; one of {', '.join(PRECISIONS)}")
        check_gguf(source)
        checkpoint = _Checkpoint(source)
        model = checkpoint.architecture()
        checkpoint.check_tensors(model)
        write_tokenizer(target, checkpoint.vocabulary())
        write_genai_config(target, model)
        return write_graph(
            target, model, checkpoint.weights, precision,
            lambda done, total: progress(f"convert to {precision}", done, total),
        )  # fmt: skip


class _Checkpoint:
    """Typed access to a checked GGUF file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._reader = GGUFReader(path)
        except (ValueError, KeyError, IndexError, OSError, UnicodeDecodeError) as error:
            raise bad_file(path, f"cannot be read: {error}") from None
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    def architecture(self) -> Architecture:
        """Read the shape of the model."""
        name = self._text("general.architecture")
        if name != "llama":
            raise bad_file(self._path, f"is of architecture '{name}'; supported is llama")
        for key in ("llama.rope.scaling.type", "llama.expert_count"):
            value = self._value(key)
            if value not in (None, 0, "none"):
                raise bad_file(self._path, f"has {key} = {value}, which is not supported")
        heads = self._number("llama.attention.head_count", 1024)
        hidden = self._number("llama.embedding_length", 1 << 16)
        head_size = self._number("llama.attention.key_length", 1024, hidden // heads)
        if head_size % _HEAD_MULTIPLE or hidden % max(BLOCKS.values()):
            raise bad_file(
                self._path,
                f"has head size {head_size} and width {hidden}; multiples of {_HEAD_MULTIPLE} and "
                f"{max(BLOCKS.values())} are needed",
            )
        eos = self._number("tokenizer.ggml.eos_token_id", 1 << 24)
        eot = self._optional("tokenizer.ggml.eot_token_id")
        return Architecture(
            name="llama",
            vocab_size=len(self._list("tokenizer.ggml.tokens")),
            context=self._number("llama.context_length", 1 << 20),
            layers=self._number("llama.block_count", _MAX_LAYERS),
            hidden=hidden,
            feed_forward=self._number("llama.feed_forward_length", 1 << 18),
            heads=heads,
            kv_heads=self._number("llama.attention.head_count_kv", 1024, heads),
            head_size=head_size,
            rope_base=float(self._value("llama.rope.freq_base") or 10000.0),
            norm_epsilon=float(self._value("llama.attention.layer_norm_rms_epsilon") or 1e-5),
            rope_interleaved=True,
            tied="output.weight" not in self._tensors,
            bos_token_id=self._optional("tokenizer.ggml.bos_token_id"),
            eos_token_ids=tuple(dict.fromkeys((eos,) if eot is None else (eos, eot))),
            pad_token_id=self._optional("tokenizer.ggml.padding_token_id"),
        )

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
        kind, pre = self._text("tokenizer.ggml.model"), self._text("tokenizer.ggml.pre")
        if kind != "gpt2" or pre not in PRE_TOKENIZERS:
            raise bad_file(
                self._path,
                f"has the tokenizer '{kind}' / '{pre}'; supported is gpt2 with one of "
                f"{', '.join(PRE_TOKENIZERS)}",
            )
        tokens = self._list("tokenizer.ggml.tokens")
        types = self._list("tokenizer.ggml.token_type")
        if len(types) != len(tokens) or len(set(tokens)) != len(tokens):
            raise bad_file(self._path, "has a vocabulary with missing types or repeated tokens")
        template = self._value("tokenizer.chat_template")
        return Vocabulary(
            tokens=tokens,
            types=types,
            merges=self._list("tokenizer.ggml.merges"),
            pre_tokenizer=pre,
            bos=self._token("bos", len(tokens)),
            eos=self._number("tokenizer.ggml.eos_token_id", len(tokens) - 1),
            pad=self._token("padding", len(tokens)),
            unknown=self._token("unknown", len(tokens)),
            chat_template=template if isinstance(template, str) else None,
        )

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

    def _value(self, key: str) -> Any:
        field = self._reader.get_field(key)
        return None if field is None else field.contents()

    def _text(self, key: str) -> str:
        value = self._value(key)
        if not isinstance(value, str):
            raise bad_file(self._path, f"lacks the text '{key}'")
        return value

    def _list(self, key: str) -> list[Any]:
        value = self._value(key)
        if not isinstance(value, list) or not value:
            raise bad_file(self._path, f"lacks the list '{key}'")
        return value

    def _number(self, key: str, most: int, default: int | None = None) -> int:
        value = self._value(key)
        value = default if value is None else value
        if not isinstance(value, int) or not 0 <= value <= most or (value == 0 and "id" not in key):
            raise bad_file(self._path, f"has {key} = {value!r}; it must be 1 to {most}")
        return value

    def _optional(self, key: str) -> int | None:
        value = self._value(key)
        return value if isinstance(value, int) else None

    def _token(self, name: str, size: int) -> int | None:
        value = self._optional(f"tokenizer.ggml.{name}_token_id")
        return value if value is not None and 0 <= value < size else None
