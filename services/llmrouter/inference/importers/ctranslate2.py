"""Importing a GGUF checkpoint of the llama architecture as a CTranslate2 folder, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

from llmrouter.inference.importers.architecture import Architecture, needed_tensors
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.gguf import GgufCheckpoint, GgufImporter
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.importers.rope import plain
from llmrouter.inference.importers.tensors import Floats
from llmrouter.inference.models.progress import Progress

__all__ = ["CTranslate2Checkpoint", "GgufToCTranslate2", "unpermute"]

_QUANTISATION = {"int8": "int8", "fp32": None}
"""Precision to CTranslate2's name of it; None keeps float32."""

Weights = Callable[[str], Floats]
"""Reads one tensor by its name in the GGUF convention."""


class GgufToCTranslate2:
    """Turns one `.gguf` file into a CTranslate2 folder; asked for by name."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        """Whether `source` looks like a GGUF file."""
        return GgufImporter.accepts(source)

    @classmethod
    def open(cls, source: Path) -> CTranslate2Checkpoint:
        """Check the file and read what its header says; no weights are read.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
        """
        return CTranslate2Checkpoint(source)


class CTranslate2Checkpoint(GgufCheckpoint):
    """One checked GGUF file; see `Checkpoint` for the contract."""

    precisions: tuple[str, ...] = tuple(_QUANTISATION)

    def __init__(self, path: Path) -> None:
        """Read and check the header."""
        super().__init__(path)
        if not _is_plain(self._model):
            raise bad_file(
                path,
                f"is of architecture '{self._model.name}' with parts that are not written for "
                "CTranslate2; import it without --importer",
            )

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Write a complete CTranslate2 folder, as `Checkpoint.convert` says."""
        if precision not in _QUANTISATION:
            known = ", ".join(_QUANTISATION)
            raise bad_file(
                self._path, f"cannot become '{precision}' for CTranslate2; one of {known}"
            )
        self._write_tokenizer(target)
        parameters = 0

        def weights(name: str) -> Floats:
            nonlocal parameters
            found = self._whole(name)
            parameters += found.size
            return found

        spec = _spec(self._model)
        _fill(spec, self._model, weights, precision, progress)
        words = self._vocabulary
        spec.register_vocabulary(list(words.tokens))
        spec.config.eos_token = words.tokens[words.eos]
        spec.config.bos_token = words.tokens[words.eos if words.bos is None else words.bos]
        spec.config.unk_token = words.tokens[0 if words.unknown is None else words.unknown]
        spec.config.layer_norm_epsilon = self._model.norm_epsilon
        spec.validate()
        spec.optimize(quantization=_QUANTISATION[precision])
        spec.save(str(target))
        _complete_config(target / "config.json", self._model)
        return Converted(parameters, self._licence)

    def _whole(self, name: str) -> Floats:
        """Return a tensor; CTranslate2's writer wants them all at once."""
        shape = needed_tensors(self._model)[name]
        if len(shape) == 1:
            return self._tensors.vector(name)
        # Quantising writes into what it is given; plain numbers come as the file's own pages.
        return np.require(self._tensors.rows(name, 0, shape[0]), requirements=["C", "W"])


def unpermute(weights: Floats, heads: int) -> Floats:
    """Return rows of q or k in halves rather than in neighbours.

    GGUFs of the llama architecture pair rows 2i and 2i+1 of a head for its rotation; CTranslate2
    pairs i and i + half. [heads * size, in] to the same shape.
    """
    rows, columns = weights.shape
    paired = weights.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(paired.swapaxes(1, 2).reshape(rows, columns))


def _is_plain(model: Architecture) -> bool:
    """Whether a model is what `_spec` describes."""
    usual = plain(model.rope.base, model.head_size)
    return model.name == "llama" and not model.biases and model.rope == usual


def _spec(model: Architecture) -> Any:
    usual = model.hidden // model.heads
    return transformer_spec.TransformerDecoderModelSpec.from_config(
        model.layers,
        model.heads,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,  # all of a head
        rotary_interleave=False,
        rotary_base=model.rope.base,
        num_heads_kv=None if model.kv_heads == model.heads else model.kv_heads,
        head_dim=None if model.head_size == usual else model.head_size,
    )


def _fill(
    spec: Any, model: Architecture, weights: Weights, precision: str, progress: Progress
) -> None:
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights("token_embd.weight")
    decoder.projection.weight = (
        decoder.embeddings.weight if model.tied else weights("output.weight")
    )
    decoder.layer_norm.gamma = weights("output_norm.weight")
    for index, layer in enumerate(decoder.layer):
        at = f"blk.{index}"
        query = unpermute(weights(f"{at}.attn_q.weight"), model.heads)
        key = unpermute(weights(f"{at}.attn_k.weight"), model.kv_heads)
        value = weights(f"{at}.attn_v.weight")
        layer.self_attention.layer_norm.gamma = weights(f"{at}.attn_norm.weight")
        layer.self_attention.linear[0].weight = np.concatenate([query, key, value])
        layer.self_attention.linear[1].weight = weights(f"{at}.attn_output.weight")
        layer.ffn.layer_norm.gamma = weights(f"{at}.ffn_norm.weight")
        layer.ffn.linear_0.weight = weights(f"{at}.ffn_gate.weight")
        layer.ffn.linear_0_noact.weight = weights(f"{at}.ffn_up.weight")
        layer.ffn.linear_1.weight = weights(f"{at}.ffn_down.weight")
        progress(f"convert to {precision}", index + 1, model.layers)


def _complete_config(file: Path, model: Architecture) -> None:
    """Add what CTranslate2 does not keep and whoever serves the model must know."""
    content = json.loads(file.read_text())
    content |= {
        "model_type": model.name,
        "context_length": model.context,
        "eos_token_ids": list(model.eos_token_ids),
    }
    file.write_text(json.dumps(content, indent=2) + "\n")
