"""Importing folders that are used as they are: onnxruntime-genai's and CTranslate2's."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path

from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.huggingface import text_files
from llmrouter.inference.importers.onnx_decoder import read_decoder_graph
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.models.card import CARD_FILE
from llmrouter.inference.models.ctranslate2_folder import read_ctranslate2_folder
from llmrouter.inference.models.ctranslate2_weights import read_weights
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.kinds import CTRANSLATE2_FILE, Kind, kind_of
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.untrusted_json import inside

__all__ = ["CTranslate2FolderImporter", "GenaiImporter", "ReadyMade"]

_REMEDY = "fetch the folder again"
_MAX_FILES = 1000
_CTRANSLATE2_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


class GenaiImporter:
    """Takes a folder of onnxruntime-genai."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        """Whether `source` has genai's configuration."""
        return kind_of(source) is Kind.GENAI

    @classmethod
    def open(cls, source: Path) -> ReadyMade:
        """Check configuration, graph and tokenizer; no weights are read.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and what is wrong or not supported.
        """
        folder = read_folder(source)
        found = read_decoder_graph(folder.model_file)
        if found.layers != folder.layers:
            raise bad_file(
                folder.model_file, f"has {found.layers} layers; genai_config.json: {folder.layers}"
            )
        text_files(source, folder.vocab_size)
        return ReadyMade(source, found.precision, found.parameters)


class CTranslate2FolderImporter:
    """Takes a folder that CTranslate2's own converters wrote."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        """Whether `source` has CTranslate2's files."""
        return kind_of(source) is Kind.CTRANSLATE2

    @classmethod
    def open(cls, source: Path) -> ReadyMade:
        """Check configuration, shapes of weights and tokenizer; no weights are read.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and what is wrong or not supported.
        """
        folder = read_ctranslate2_folder(source)
        text_files(source, folder.vocab_size)
        sizes: Counter[str] = Counter()
        for variable in read_weights(source / CTRANSLATE2_FILE, _REMEDY).variables.values():
            if len(variable.shape) > 1:
                sizes[variable.dtype] += math.prod(variable.shape)
        kind = max(sizes, key=lambda one: sizes[one]) if sizes else "unknown"
        return ReadyMade(source, _CTRANSLATE2_NAMES.get(kind, kind), sum(sizes.values()))


class ReadyMade:
    """One checked folder, to be copied; see `Checkpoint` for the contract."""

    def __init__(self, folder: Path, precision: str, parameters: int) -> None:
        """Keep what was found; importers check the folder before."""
        self.precisions: tuple[str, ...] = (precision,)
        self._folder, self._parameters = folder, parameters

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Copy the folder, but for a card that another machine wrote."""
        if precision not in self.precisions:
            raise bad_file(self._folder, f"is {self.precisions[0]}, and stays so")
        files = [
            file.relative_to(self._folder).as_posix()
            for file in sorted(self._folder.rglob("*"))
            if not file.is_dir() and file.name != CARD_FILE
        ]
        if len(files) > _MAX_FILES:
            raise bad_file(self._folder, f"holds {len(files)} files; at most {_MAX_FILES}")
        for done, name in enumerate(files, 1):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(inside(self._folder, name, _REMEDY), target / name)
            progress("copy", done, len(files))
        return Converted(self._parameters, "unknown")
