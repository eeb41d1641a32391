"""Importing a GGUF checkpoint."""

from __future__ import annotations

from pathlib import Path

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.importers.architecture import PRECISIONS
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.decoder_folder import convert_decoder
from llmrouter.inference.importers.footprint import Footprint, decoder_footprints
from llmrouter.inference.importers.gguf_architecture import read_architecture
from llmrouter.inference.importers.gguf_fields import GgufFields
from llmrouter.inference.importers.gguf_header import has_magic, read_header
from llmrouter.inference.importers.gguf_tensors import GgufTensors
from llmrouter.inference.importers.gguf_vocabulary import read_vocabulary, with_merges
from llmrouter.inference.importers.journal import Journal
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.importers.tokenizer_files import write_tokenizer
from llmrouter.inference.models.progress import Progress

__all__ = ["GgufCheckpoint", "GgufImporter"]


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
        return GgufCheckpoint(source)


class GgufCheckpoint:
    """One checked GGUF file; see `DecoderCheckpoint` for the contract."""

    precisions: tuple[str, ...] = PRECISIONS

    def __init__(self, path: Path) -> None:
        """Read and check the header."""
        self._path = path
        header = read_header(path)
        fields = GgufFields(path, header.fields)
        self.tensors = GgufTensors(path, header.tensors)
        vocabulary = read_vocabulary(path, fields)
        self.model = read_architecture(path, fields, vocabulary, self.tensors)
        self.tensors.check(self.model)
        self._vocabulary = with_merges(path, fields, vocabulary)
        self.licence = _licence(fields)

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Write a complete model folder, as `Checkpoint.convert` says."""
        return self.resume(target, precision, progress)

    def resume(
        self, target: Path, precision: str, progress: Progress, journal: Journal | None = None
    ) -> Converted:
        """Write it, or what is missing of it, as `Resumable.resume` says."""
        if precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise bad_file(self._path, f"cannot become '{precision}'; one of {known}")
        return convert_decoder(self, target, precision, progress, journal)

    def footprints(self, cache_tokens: int | None, options: BackendOptions) -> list[Footprint]:
        """Return what every precision would count for, as `Estimating` says."""
        return decoder_footprints(self, self.precisions, cache_tokens, options)

    def words(self) -> list[str]:
        """Return the tokens, by id."""
        return list(self._vocabulary.tokens)

    def write_texts(self, target: Path) -> None:
        """Write tokenizer and chat template, as `DecoderCheckpoint.write_texts` says."""
        try:
            write_tokenizer(target, self._vocabulary)
        except ValueError as error:
            raise bad_file(self._path, f"has a vocabulary that is refused: {error}") from None


def _licence(fields: GgufFields) -> str:
    """Return the licence the file states."""
    value = fields.value("general.license")
    known = isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable()
    return value if known else "unknown"
