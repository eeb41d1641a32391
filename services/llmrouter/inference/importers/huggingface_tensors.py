"""The tensors of a Hugging Face folder: one or several safetensors files, read in pieces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from llmrouter.inference.importers.architecture import Architecture, needed_tensors
from llmrouter.inference.importers.places import Place, first_row, stored_shapes
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.importers.safetensors_check import StoredTensor, check_safetensors
from llmrouter.inference.importers.tensors import Blocks, Floats
from llmrouter.inference.models.untrusted_json import inside, read_object

__all__ = ["INDEX_FILE", "WEIGHTS_FILE", "HuggingFaceTensors"]

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_REMEDY = "fetch the folder again"
_TYPES = MappingProxyType({"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16})
"""Types of weights that are read; by these names numpy finds its own."""
_MAX_SHARDS = 4096
_IGNORED = ("rotary_emb.inv_freq", "attn.masked_bias")
"""Ends of tensors that old versions wrote and nothing needs."""
_USUAL = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTPUT_NORMS = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_JOINED = dict.fromkeys(("attn_q", "attn_k", "attn_v"), "self_attn.qkv_proj") | dict.fromkeys(
    ("ffn_gate", "ffn_up"), "mlp.gate_up_proj"
)
_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


class HuggingFaceTensors:
    """The weights of one folder; see `Tensors` for the contract."""

    def __init__(self, folder: Path) -> None:
        """Check the headers of all files; no weights are read.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and the tensor that is wrong.
        """
        self._folder = folder
        self._files: dict[str, Path] = {}
        self._tensors: dict[str, StoredTensor] = {}
        for file in _files(folder):
            for name, stored in check_safetensors(file).items():
                if name in self._files:
                    raise bad_file(file, f"has the tensor '{name}' of another file again")
                self._files[name], self._tensors[name] = file, stored
        self._places: dict[str, Place] = {}
        self._norm_offset = np.float32(0)

    @property
    def names(self) -> frozenset[str]:
        """Of all tensors, as the files have them."""
        return frozenset(self._tensors)

    def check(self, model: Architecture, norm_offset: float) -> None:
        """Check that every tensor of `model` is there, in shape and of a known type.

        Args:
            model: Whose.
            norm_offset: What is added to the gains of norms.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the tensor that is wrong.
        """
        self._norm_offset = np.float32(norm_offset)
        self._places = {name: _place(model, name) for name in needed_tensors(model)}
        shapes = stored_shapes(model, self._places)
        for name, shape in shapes.items():
            self._check_tensor(name, shape)
        known = {*shapes, "lm_head.weight"} if model.tied else set(shapes)
        extra = sorted(name for name in self.names - known if not name.endswith(_IGNORED))
        if extra:
            raise bad_file(
                self._files[extra[0]], f"has the tensor '{extra[0]}', which is not supported"
            )

    def vector(self, name: str) -> Floats:
        """Return a whole vector."""
        found = self._read(self._places[name].stored, slice(None))
        return found + self._norm_offset if "norm" in name else found

    def rows(self, name: str, start: int, stop: int) -> Floats:
        """Return some rows of a matrix [out, in]."""
        where = self._places[name]
        begin = where.first_row
        return self._read(where.stored, slice(begin + start, begin + stop))

    def blocks(self, name: str, start: int, stop: int) -> Blocks | None:
        """Return None: nothing here is stored in levels."""
        return None

    def _read(self, stored: str, rows: slice) -> Floats:
        file = self._files[stored]
        try:
            # Opened for each piece: a file that stays mapped fills memory with what was read.
            with safe_open(str(file), framework="np") as opened:
                found = opened.get_slice(stored)[rows]
        except (SafetensorError, OSError) as error:
            raise bad_file(file, f"cannot give '{stored}' ({error})") from None
        values = np.asarray(found, np.float32)
        if not np.isfinite(values).all():
            at = self._tensors[stored].offset
            raise bad_file(
                file, f"holds things in '{stored}' from byte {at} on that are no numbers"
            )
        return values

    def _check_tensor(self, name: str, shape: tuple[int, ...]) -> None:
        stored = self._tensors.get(name)
        if stored is None:
            raise bad_file(self._folder, f"lacks the tensor '{name}'")
        if stored.shape != shape:
            problem = f"gives '{name}' the shape {stored.shape} at byte {stored.offset}"
            problem += f"; {shape} is needed"
            raise bad_file(self._files[name], problem)
        if stored.kind not in _TYPES:
            problem = f"stores '{name}' as {stored.kind} at byte {stored.offset}; supported are "
            problem += ", ".join(_TYPES)
            raise bad_file(self._files[name], problem)


def _place(model: Architecture, name: str) -> Place:
    """Return where the files keep a tensor."""
    if name in _OUTSIDE:
        return Place(_OUTSIDE[name])
    _, layer, part, kind = name.split(".")
    joined = _JOINED if model.name == "phi3" else {}
    apart = _OUTPUT_NORMS if model.output_norms else {}
    stored = joined.get(part) or apart.get(part) or _USUAL[part]
    first = first_row(model, part) if part in joined else 0
    return Place(f"model.layers.{layer}.{stored}.{kind}", first)


def _files(folder: Path) -> list[Path]:
    """Return the weight files, all of which lie in the folder."""
    if (folder / WEIGHTS_FILE).exists():
        return [inside(folder, WEIGHTS_FILE, _REMEDY)]
    if not (folder / INDEX_FILE).exists():
        pickled = sorted(folder.glob("pytorch_model*.bin"))
        if pickled:
            raise bad_file(
                pickled[0], "holds pickled weights, which are never read; save them as safetensors"
            )
        raise bad_file(folder, f"has neither {WEIGHTS_FILE} nor {INDEX_FILE}")
    index = read_object(inside(folder, INDEX_FILE, _REMEDY), _REMEDY)
    places: Mapping[str, Any] = {
        name: index.child("weight_map").text(name) for name in index.child("weight_map").names
    }
    files = sorted(set(places.values()))
    if not files or len(files) > _MAX_SHARDS:
        raise index.refuse("weight_map", f"names {len(files)} files, must be 1 to {_MAX_SHARDS}")
    return [inside(folder, name, _REMEDY) for name in files]
