"""A model folder: what onnxruntime-genai's `genai_config.json` says, checked before use.

Format: https://onnxruntime.ai/docs/genai/reference/config.html. Every value is treated as
untrusted; nothing outside of the folder is ever opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmrouter.inference.models.card import CARD_FILE, ModelCard, read_card
from llmrouter.inference.models.untrusted_json import JsonObject, broken_file, inside, read_object

__all__ = [
    "CONFIG_FILE",
    "TOKENIZER_FILE",
    "ModelFolder",
    "folder_bytes",
    "folder_card",
    "read_folder",
]

CONFIG_FILE = "genai_config.json"
TOKENIZER_FILE = "tokenizer.json"

_REMEDY = "import the model again or point to a folder made for onnxruntime-genai"
_MAX_FILES = 10_000

_INPUTS = {
    "input_ids": "input_ids",
    "attention_mask": "attention_mask",
    "past_key_names": "past_key_values.%d.key",
    "past_value_names": "past_key_values.%d.value",
}
_OUTPUTS = {
    "logits": "logits",
    "present_key_names": "present.%d.key",
    "present_value_names": "present.%d.value",
}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A decoder-only text model on disk, as its configuration describes it."""

    path: Path
    name: str
    """The card's name, else the folder's."""
    model_file: Path
    architecture: str
    """genai's model type, such as `llama`."""
    vocab_size: int
    context_length: int
    """Tokens of prompt and answer together."""
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden_size: int
    eos_token_ids: tuple[int, ...]
    """Tokens that end an answer, at least one."""
    bos_token_id: int | None
    input_names: Mapping[str, str]
    """Role to tensor name: input_ids, attention_mask, past_key_names, past_value_names (`%d`)."""
    output_names: Mapping[str, str]
    """Role to tensor name: logits, present_key_names, present_value_names (`%d`)."""
    size_bytes: int
    """Of all files together."""
    card: ModelCard | None
    """None for folders that others made."""

    @property
    def version(self) -> str:
        """The card's version; `unversioned` for folders that others made."""
        return self.card.version if self.card else "unversioned"


def read_folder(path: Path) -> ModelFolder:
    """Read and check the model folder at `path`; weights are not opened.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file, what is wrong with it and the remedy.
    """
    if not path.is_dir():
        raise broken_file(path, "is not a folder", _REMEDY)
    config = read_object(inside(path, CONFIG_FILE, _REMEDY), _REMEDY)
    inside(path, TOKENIZER_FILE, _REMEDY)
    model = config.child("model")
    decoder = model.child("decoder")
    if decoder.has("pipeline"):
        problem = "splits the model over several sessions or devices, which is not supported"
        raise decoder.refuse("pipeline", f"{problem}; export it as one graph")
    card = folder_card(path)
    vocab_size = model.integer("vocab_size", 1, 2_000_000)
    heads = decoder.integer("num_attention_heads", 1, 4096)
    return ModelFolder(
        path=path,
        name=card.name if card else path.resolve().name,
        model_file=_model_file(path, decoder),
        architecture=model.text("type"),
        vocab_size=vocab_size,
        context_length=model.integer("context_length", 1, 100_000_000),
        layers=decoder.integer("num_hidden_layers", 1, 4096),
        heads=heads,
        kv_heads=_kv_heads(decoder, heads),
        head_size=decoder.integer("head_size", 1, 4096),
        hidden_size=decoder.integer("hidden_size", 1, 1_000_000),
        eos_token_ids=_eos_token_ids(model, vocab_size),
        bos_token_id=_bos_token_id(model, vocab_size),
        input_names=_names(decoder, "inputs", _INPUTS),
        output_names=_names(decoder, "outputs", _OUTPUTS),
        size_bytes=folder_bytes(path),
        card=card,
    )


def folder_card(path: Path) -> ModelCard | None:
    """Return the card of the folder at `path`; None where it has none.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file that is wrong, or is not as the card says.
    """
    if not (path / CARD_FILE).exists():
        return None
    card = read_card(inside(path, CARD_FILE, _REMEDY))
    for name, size in card.files.items():
        found = inside(path, name, _REMEDY).stat().st_size
        if found != size:
            problem = f"has {found} bytes, but {size} when it was imported"
            raise broken_file(path / name, problem, "pull or import the model again")
    return card


def _model_file(path: Path, decoder: JsonObject) -> Path:
    name = decoder.text("filename")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise decoder.refuse("filename", f"is {name!r}, must stay inside the folder")
    return inside(path, name, _REMEDY)


def _kv_heads(decoder: JsonObject, heads: int) -> int:
    kv_heads = decoder.integer("num_key_value_heads", 1, heads)
    if heads % kv_heads:
        raise decoder.refuse(
            "num_key_value_heads", f"is {kv_heads}, must divide num_attention_heads ({heads})"
        )
    return kv_heads


def _eos_token_ids(model: JsonObject, vocab_size: int) -> tuple[int, ...]:
    if not isinstance(model.raw("eos_token_id"), list):
        return (model.integer("eos_token_id", 0, vocab_size - 1),)
    ids = model.raw("eos_token_id")
    fits = all(type(one) is int and 0 <= one < vocab_size for one in ids)
    if not ids or not fits:
        raise model.refuse("eos_token_id", f"must hold whole numbers 0 to {vocab_size - 1}")
    return tuple(ids)


def _bos_token_id(model: JsonObject, vocab_size: int) -> int | None:
    if not model.has("bos_token_id"):
        return None
    return model.integer("bos_token_id", 0, vocab_size - 1)


def _names(decoder: JsonObject, field: str, defaults: Mapping[str, str]) -> Mapping[str, str]:
    """Return the tensor names, genai's own defaults where the configuration is silent."""
    given = decoder.child(field) if decoder.has(field) else None
    names = {}
    for role, default in defaults.items():
        name = given.text(role) if given and given.has(role) else default
        if ("%d" in default) != ("%d" in name) or name.count("%") != default.count("%"):
            raise decoder.refuse(f"{field}.{role}", f"is {name!r}, expected the form of {default}")
        names[role] = name
    return names


def folder_bytes(path: Path) -> int:
    """Return the size of all files below `path` together."""
    total = 0
    for count, file in enumerate(path.rglob("*")):
        if count >= _MAX_FILES:
            raise broken_file(path, f"holds more than {_MAX_FILES} files", _REMEDY)
        if file.is_file() and not file.is_symlink():
            total += file.stat().st_size
    return total
