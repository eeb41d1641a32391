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
from llmrouter.inference.importers.gguf_vocabulary import read_vocabulary
from llmrouter.inference.importers.graph import LAYER_NAMES, write_graph
from llmrouter.inference.importers.quantise import BLOCK
from llmrouter.inference.importers.tokenizer_files import write_tokenizer
from llmrouter.inference.models.progress import Progress

__all__ = ["GgufCheckpoint", "GgufImporter"]

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
    def open(cls, source: Path) -> GgufCheckpoint:
        """Check the file and read what its header says; no weights are read.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
        """
        check_gguf(source)
        return GgufCheckpoint(source)


class GgufCheckpoint:
    """One checked GGUF file; see `Checkpoint` for the contract."""

    def __init__(self, path: Path) -> None:
        """Read the header; `GgufImporter.open` checks the file before."""
        self._path = path
        try:
            self._reader = GGUFReader(path)
        except (ValueError, KeyError, IndexError, OSError, UnicodeDecodeError) as error:
            raise bad_file(path, f"cannot be read: {error}") from None
        self._fields = GgufFields(path, self._reader)
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        self._vocabulary = read_vocabulary(path, self._fields)
        self._model = self._architecture()
        self._check_tensors()

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Write a complete model folder, as `Checkpoint.convert` says."""
        if precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise bad_file(self._path, f"cannot become '{precision}'; one of {known}")
        try:
            write_tokenizer(target, self._vocabulary)
        except ValueError as error:
            raise bad_file(self._path, f"has a vocabulary that is refused: {error}") from None
        write_genai_config(target, self._model)
        parameters = write_graph(
            target, self._model, self._weights, precision,
            lambda done, total: progress(f"convert to {precision}", done, total),
        )  # fmt: skip
        return Converted(parameters, self._licence())

    def _licence(self) -> str:
        """Return the licence the file states."""
        value = self._fields.value("general.license")
        known = isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable()
        return value if known else "unknown"

    def _architecture(self) -> Architecture:
        """Read the shape of the model."""
        name = self._fields.text("general.architecture")
        if name != "llama":
            raise bad_file(self._path, f"is of architecture '{name}'; supported is llama")
        self._refuse_unknown_features()
        heads = self._fields.number("llama.attention.head_count", 1024)
        hidden = self._fields.number("llama.embedding_length", 1 << 16)
        head_size = self._fields.number("llama.attention.key_length", 1024, hidden // heads)
        words = self._vocabulary
        vocab_size = len(words.tokens)
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
            bos_token_id=words.bos,
            eos_token_ids=tuple(dict.fromkeys((words.eos,) if eot is None else (words.eos, eot))),
            pad_token_id=words.pad,
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

    def _check_tensors(self) -> None:
        """Check that every tensor the graph needs is there, in shape and of a known type."""
        model = self._model
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

    def _weights(self, name: str) -> NDArray[np.float32]:
        """Read one tensor as float32, [out, in] for matrices."""
        tensor = self._tensors[name]
        # A plain array: slices of a mapped one cost as much as the numbers in them.
        stored = np.asarray(tensor.data)
        return np.asarray(dequantize(stored, tensor.tensor_type), dtype=np.float32)

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
