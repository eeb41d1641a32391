"""Runs an imported folder on plain onnxruntime, and finds the demo model's folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from llmrouter.inference.models.folder import ModelFolder, read_folder

Array = npt.NDArray[np.float32]
Cache = dict[str, Array]

DEMO = "smollm2-135m-instruct"


def demo_folder(precision: str) -> ModelFolder:
    return stored_folder(DEMO, precision)


def stored_folder(model: str, precision: str) -> ModelFolder:
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    path = data / "llmrouter" / "models" / f"{model}-{precision}"
    if not (path / "llmrouter.json").is_file():
        pytest.skip(f"{path.name} is not in the store: run `llmrouter models pull {model}`")
    return read_folder(path)


class Runner:
    """One session with its cache handed in and out."""

    def __init__(self, folder: ModelFolder) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(
            str(folder.model_file), options, providers=["CPUExecutionProvider"]
        )
        self.folder = folder
        self._past = [i.name for i in self.session.get_inputs() if i.name.startswith("past")]
        self._outputs = [o.name for o in self.session.get_outputs()]

    def empty(self, rows: int = 1, length: int = 0) -> Cache:
        shape = (rows, self.folder.kv_heads, length, self.folder.head_size)
        return {name: np.zeros(shape, np.float32) for name in self._past}

    def run(
        self,
        tokens: Sequence[Sequence[int]],
        mask: npt.NDArray[np.int64],
        cache: Cache,
        keep: int | None = None,
    ) -> tuple[Array, Cache]:
        feeds = {"input_ids": np.array(tokens, np.int64), "attention_mask": mask, **cache}
        if keep is not None:
            feeds["logits_to_keep"] = np.array([keep], np.int64)
        logits, *present = self.session.run(self._outputs, feeds)
        return logits, dict(zip(self._past, present, strict=True))

    def logits(self, tokens: Sequence[int], keep: int | None = None) -> Array:
        mask = np.ones((1, len(tokens)), np.int64)
        return self.run([tokens], mask, self.empty(), keep)[0][0]

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The most likely tokens, ended by an end token or by `count`."""
        pending, cache, said, total = list(prompt), self.empty(), [], len(prompt)
        while len(said) < count:
            logits, cache = self.run([pending], np.ones((1, total), np.int64), cache)
            said.append(int(logits[0, -1].argmax()))
            if said[-1] in self.folder.eos_token_ids:
                break
            pending, total = said[-1:], total + 1
        return said
