"""Importing ONNX decoders as Optimum lays them out: config.json beside a graph.

Those whose attention works in place (GroupQueryAttention) run as they are; a configuration for
onnxruntime-genai is written beside them. All others are refused by name.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx

from llmrouter.inference.importers.architecture import Architecture
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.genai_config import write_genai_config
from llmrouter.inference.importers.huggingface import read_ends, text_files
from llmrouter.inference.importers.huggingface_config import read_architecture, read_family
from llmrouter.inference.importers.onnx_decoder import read_decoder_graph
from llmrouter.inference.importers.refusal import bad_file
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
        self._texts = text_files(folder, self._model.vocab_size)
        self.precisions: tuple[str, ...] = (self._graph.precision,)

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        """Copy graph, weights and tokenizer, and write genai's configuration."""
        if precision not in self.precisions:
            raise bad_file(self._folder, f"is {self.precisions[0]}, and stays so")
        weights = _weight_files(self._file)
        for done, file in enumerate([self._file, *weights, *self._texts], 1):
            name = "model.onnx" if file == self._file else file.name
            shutil.copyfile(file, target / name)
            progress("copy", done, 1 + len(weights) + len(self._texts))
        write_genai_config(target, self._model)
        return Converted(self._graph.parameters, "unknown")


def _weight_files(graph: Path) -> list[Path]:
    """Return the files beside a checked graph that its weights lie in."""
    model = onnx.load(str(graph), load_external_data=False)
    names = {
        str(entry.value)
        for tensor in tensors_of(model.graph)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [inside(graph.parent, name, _REMEDY) for name in sorted(names)]
