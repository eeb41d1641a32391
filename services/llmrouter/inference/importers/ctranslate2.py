"""Importing a decoder as a CTranslate2 folder, without torch: a GGUF or a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path

from llmrouter.inference.importers.architecture import Architecture
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.ctranslate2_spec import QUANTISATION, lacking, written_spec
from llmrouter.inference.importers.decoder import DecoderCheckpoint
from llmrouter.inference.importers.gguf import GgufImporter
from llmrouter.inference.importers.huggingface import HuggingFaceImporter
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.models.progress import Progress

__all__ = ["CTranslate2Checkpoint", "GgufToCTranslate2", "HuggingFaceToCTranslate2"]


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
        return CTranslate2Checkpoint(source, GgufImporter.open(source))


class HuggingFaceToCTranslate2:
    """Turns one folder of Hugging Face's into a CTranslate2 folder; asked for by name."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        """Whether `source` looks like a folder of weights that transformers would load."""
        return HuggingFaceImporter.accepts(source)

    @classmethod
    def open(cls, source: Path) -> CTranslate2Checkpoint:
        """Check the folder's files and read what they say; no weights are read.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and the field or tensor that is wrong.
        """
        return CTranslate2Checkpoint(source, HuggingFaceImporter.open(source))


class CTranslate2Checkpoint:
    """One checked checkpoint on its way to CTranslate2; see `Checkpoint` for the contract."""

    precisions: tuple[str, ...] = tuple(QUANTISATION)

    def __init__(self, path: Path, opened: DecoderCheckpoint) -> None:
        """Refuse what CTranslate2 cannot compute."""
        self._path, self._opened = path, opened
        problem = lacking(opened.model)
        if problem:
            raise bad_file(
                path,
                f"is of architecture '{opened.model.name}' with {problem}, which CTranslate2 does "
                "not compute; import it without --importer",
            )

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Write a complete CTranslate2 folder, as `Checkpoint.convert` says."""
        if precision not in QUANTISATION:
            known = ", ".join(QUANTISATION)
            raise bad_file(
                self._path, f"cannot become '{precision}' for CTranslate2; one of {known}"
            )
        opened, model = self._opened, self._opened.model
        opened.write_texts(target)
        spec, parameters = written_spec(model, opened.tensors, precision, progress)
        words = opened.words()
        spec.register_vocabulary(words)
        end = model.eos_token_ids[0]
        begin = end if model.bos_token_id is None else model.bos_token_id
        spec.config.eos_token, spec.config.bos_token = words[end], words[begin]
        spec.config.unk_token = words[0]
        spec.config.layer_norm_epsilon = model.norm_epsilon
        spec.validate()
        spec.optimize(quantization=QUANTISATION[precision])
        spec.save(str(target))
        _complete_config(target / "config.json", model)
        return Converted(parameters, opened.licence)


def _complete_config(file: Path, model: Architecture) -> None:
    """Add what CTranslate2 does not keep and whoever serves the model must know."""
    content = json.loads(file.read_text())
    content |= {
        "model_type": model.name,
        "context_length": model.context,
        "eos_token_ids": list(model.eos_token_ids),
    }
    file.write_text(json.dumps(content, indent=2) + "\n")
