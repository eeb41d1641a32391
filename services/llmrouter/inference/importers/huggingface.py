"""Importing a Hugging Face folder: config.json, safetensors, tokenizer.json."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.importers.architecture import PRECISIONS
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.decoder_folder import convert_decoder
from llmrouter.inference.importers.footprint import Footprint, decoder_footprints
from llmrouter.inference.importers.huggingface_config import read_architecture, read_family
from llmrouter.inference.importers.huggingface_tensors import (
    INDEX_FILE,
    WEIGHTS_FILE,
    HuggingFaceTensors,
)
from llmrouter.inference.importers.journal import Journal
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.models.folder import TOKENIZER_FILE
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.text_files import load_tokenizer
from llmrouter.inference.models.untrusted_json import JsonObject, inside, read_object

__all__ = ["HuggingFaceCheckpoint", "HuggingFaceImporter", "read_ends", "text_files"]

_CONFIG = "config.json"
_GENERATION = "generation_config.json"
_TEXT_FILES = (
    TOKENIZER_FILE, "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip
_MAX_TEXT_BYTES = 128 * 2**20
_README = "README.md"
_MAX_README = 64 * 1024
_LICENCE = re.compile(r"^license:[ \t]*([A-Za-z0-9.+-]{1,64})[ \t\r]*$", re.MULTILINE)
_REMEDY = "fetch the folder again"


class HuggingFaceImporter:
    """Turns one folder into a model folder."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        """Whether `source` looks like a folder of weights that transformers would load."""
        weights = (WEIGHTS_FILE, INDEX_FILE, "pytorch_model.bin", "pytorch_model.bin.index.json")
        return (source / _CONFIG).is_file() and any((source / one).exists() for one in weights)

    @classmethod
    def open(cls, source: Path) -> HuggingFaceCheckpoint:
        """Check the folder's files and read what they say; no weights are read.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
        """
        return HuggingFaceCheckpoint(source)


class HuggingFaceCheckpoint:
    """One checked folder; see `DecoderCheckpoint` for the contract."""

    precisions: tuple[str, ...] = PRECISIONS

    def __init__(self, folder: Path) -> None:
        """Read configuration, headers and tokenizer."""
        self._folder = folder
        config = read_object(inside(folder, _CONFIG, _REMEDY), _REMEDY)
        family = read_family(config)
        self.tensors = HuggingFaceTensors(folder)
        ends = read_ends(folder, config)
        self.model = read_architecture(config, family, ends, self.tensors.names)
        self.tensors.check(self.model, family.norm_offset)
        self._texts = text_files(folder, self.model.vocab_size)

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Write a complete model folder, as `Checkpoint.convert` says."""
        return self.resume(target, precision, progress)

    def resume(
        self, target: Path, precision: str, progress: Progress, journal: Journal | None = None
    ) -> Converted:
        """Write it, or what is missing of it, as `Resumable.resume` says."""
        if precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise bad_file(self._folder, f"cannot become '{precision}'; one of {known}")
        return convert_decoder(self, target, precision, progress, journal)

    @property
    def licence(self) -> str:
        """The licence that the folder's README states."""
        return _licence(self._folder)

    def words(self) -> list[str]:
        """Return the tokens, by id; ids that the tokenizer does not use have made-up ones."""
        known = load_tokenizer(self._folder, self.model.vocab_size).get_vocab()
        by_id = {number: word for word, number in known.items()}
        size = self.model.vocab_size
        return [by_id.get(number, f"<unused {number}>") for number in range(size)]

    def write_texts(self, target: Path) -> None:
        """Copy tokenizer and chat template, as `DecoderCheckpoint.write_texts` says."""
        for file in self._texts:
            shutil.copyfile(file, target / file.name)

    def footprints(self, cache_tokens: int | None, options: BackendOptions) -> list[Footprint]:
        """Return what every precision would count for, as `Estimating` says."""
        return decoder_footprints(self, self.precisions, cache_tokens, options)


def _licence(folder: Path) -> str:
    """Return the licence that the head of the folder's README states."""
    if not (folder / _README).exists():
        return "unknown"
    with inside(folder, _README, _REMEDY).open("rb") as stream:
        head = stream.read(_MAX_README).decode("utf-8", "replace").split("\n---")[0]
    found = _LICENCE.search(head) if head.startswith("---") else None
    return found[1] if found else "unknown"


def read_ends(folder: Path, config: JsonObject) -> tuple[int, ...]:
    """Return the tokens that end an answer: those of the generation's settings come first."""
    holders = [config]
    if (folder / _GENERATION).exists():
        holders.insert(0, read_object(inside(folder, _GENERATION, _REMEDY), _REMEDY))
    size = config.integer("vocab_size", 1, 2_000_000)
    for holder in holders:
        if not holder.has("eos_token_id"):
            continue
        found = holder.raw("eos_token_id")
        ids = found if isinstance(found, list) else [found]
        if not ids or not all(type(one) is int and 0 <= one < size for one in ids):
            raise holder.refuse("eos_token_id", f"must be whole numbers below {size}")
        return tuple(dict.fromkeys(ids))
    raise config.refuse("eos_token_id", "is missing; no answer would ever end")


def text_files(folder: Path, vocab_size: int) -> list[Path]:
    """Return the files of tokenizer and chat template, each inside of the folder."""
    if not (folder / TOKENIZER_FILE).exists():
        raise bad_file(
            folder,
            f"has no {TOKENIZER_FILE}; save the tokenizer in its fast form, which has one",
        )
    files = [inside(folder, name, _REMEDY) for name in _TEXT_FILES if (folder / name).exists()]
    for file in files:
        if file.stat().st_size > _MAX_TEXT_BYTES:
            raise bad_file(file, f"is larger than {_MAX_TEXT_BYTES} bytes")
    load_tokenizer(folder, vocab_size)
    return files
