"""Importing ONNX decoders as Optimum lays them out: config.json beside a graph.

Those whose attention works in place (GroupQueryAttention) run as they are; a configuration for
onnxruntime-genai is written beside them. All others are refused by name.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

import onnx

from llmrouter.inference.importers.architecture import Architecture
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.genai_config import write_genai_config
from llmrouter.inference.importers.huggingface import read_ends, text_files
from llmrouter.inference.importers.huggingface_config import read_architecture, read_family
from llmrouter.inference.importers.onnx_decoder import read_decoder_graph
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.models.card import CARD_FILE
from llmrouter.inference.models.folder import CONFIG_FILE
from llmrouter.inference.models.graph_operators import tensors_of
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.untrusted_json import inside, read_object

__all__ = ["OptimumCheckpoint", "OptimumImporter"]

_CONFIG = "config.json"
_GRAPHS = ("model.onnx", "decoder_model_merged.onnx", "onnx/model.onnx")
_REMEDY = "fetch the folder again"


class OptimumImporter:
    """Turns one folder into a model folder."""

    @classmethod
    def accepts(cls, source: Path) -> bool:
        """Whether `source` has a graph and no configuration of onnxruntime-genai."""
        others = (CONFIG_FILE, "modules.json", "model.safetensors", "model.safetensors.index.json")
        return (
            (source / _CONFIG).is_file()
            and any((source / one).is_file() for one in _GRAPHS)
            and not any((source / one).exists() for one in others)
        )

    @classmethod
    def open(cls, source: Path) -> OptimumCheckpoint:
        """Check configuration, graph and tokenizer; no weights are read.

        Raises:
            RouterError: MODEL_UNAVAILABLE naming the file, and what is wrong or not supported.
        """
        return OptimumCheckpoint(source)


class OptimumCheckpoint:
    """One checked folder; see `Checkpoint` for the contract."""

    def __init__(self, folder: Path) -> None:
        """Read configuration, graph and tokenizer."""
        config = read_object(inside(folder, _CONFIG, _REMEDY), _REMEDY)
        family, ends = read_family(config), read_ends(folder, config)
        self._folder = folder
        self._model: Architecture = read_architecture(config, family, ends, frozenset())
        name = next(one for one in _GRAPHS if (folder / one).is_file())
        self._file = inside(folder, name, _REMEDY)
        self._graph = read_decoder_graph(self._file)
        if self._graph.layers != self._model.layers:
            raise bad_file(
                self._file, f"has {self._graph.layers} layers; config.json: {self._model.layers}"
            )
        texts = text_files(folder, self._model.vocab_size)
        self._copies = {"model.onnx": self._file, **{file.name: file for file in texts}}
        self._copies |= _weight_files(self._file, {*self._copies, CONFIG_FILE, CARD_FILE})
        self.precisions: tuple[str, ...] = (self._graph.precision,)

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Copy graph, weights and tokenizer, and write genai's configuration."""
        if precision not in self.precisions:
            raise bad_file(self._folder, f"is {self.precisions[0]}, and stays so")
        for done, (name, file) in enumerate(self._copies.items(), 1):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / name)
            progress("copy", done, len(self._copies))
        write_genai_config(target, self._model)
        return Converted(self._graph.parameters, "unknown")


def _weight_files(graph: Path, taken: set[str]) -> dict[str, Path]:
    """Return the files that weights of a checked graph lie in, by where it looks for them.

    Args:
        graph: Stays as it is, and so must their paths from it.
        taken: Names of other files beside it in the model's folder.
    """
    model = onnx.load(str(graph), load_external_data=False)
    names = {
        str(entry.value)
        for tensor in tensors_of(model.graph)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    files: dict[str, Path] = {}
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or taken.intersection(path.parts[:1]):
            raise bad_file(
                graph,
                f"places weights in {name[:80]!a}, where they cannot stay; export the model with "
                "its weights in a file beside it",
            )
        files[str(path)] = inside(graph.parent, name, _REMEDY)
    return files
