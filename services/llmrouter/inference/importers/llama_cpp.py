"""llama.cpp as an independent judge of imported GGUFs, through the package xllamacpp.

It is no dependency: who verifies an import installs it. It reads the checkpoint itself, so that
whatever an import misunderstands shows as a difference.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.importers.tensors import Floats
from llmrouter.inference.models.progress import Progress

__all__ = ["ENGINE", "write_judgement"]

ENGINE = "llama.cpp"
_NEVER = -1e4
"""Nats for what is reported as impossible."""


def write_judgement(
    checkpoint: Path,
    tokens: Sequence[int],
    vocabulary: Sequence[bytes],
    file: Path,
    threads: int,
    progress: Progress,
) -> None:
    """Write llama.cpp's log-probabilities after each of `tokens`, float32 [tokens, vocab].

    Args:
        checkpoint: A GGUF file that has been checked.
        tokens: A text, from its beginning.
        vocabulary: The bytes of each of the model's tokens.
        file: Where they go.
        threads: With which it computes.
        progress: Told of every position.

    Raises:
        RouterError: MODEL_UNAVAILABLE when xllamacpp is missing, or refuses the file.
    """
    server, drawn = _serve(checkpoint, len(tokens) + 8, threads), _whole_text(vocabulary)
    with file.open("wb") as stream:
        for count in range(1, len(tokens) + 1):
            row = _ask(checkpoint, server, tokens[:count], len(vocabulary), drawn)
            stream.write(row.data)
            progress(f"ask {ENGINE}", count, len(tokens))


def _serve(checkpoint: Path, context: int, threads: int) -> Any:
    library = _library()
    parameters = library.CommonParams()
    parameters.model.path = str(checkpoint)
    parameters.n_ctx = context
    parameters.n_parallel = 1
    parameters.warmup = False
    parameters.verbosity = -1
    for processors in (parameters.cpuparams, parameters.cpuparams_batch):
        processors.n_threads = threads
    try:
        return library.Server(parameters)
    except Exception as error:  # the library raises many kinds
        raise bad_file(checkpoint, f"is refused by {ENGINE}: {error}") from error


def _library() -> ModuleType:
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            f"{ENGINE} is not installed, so imports cannot be verified; pip install xllamacpp",
        ) from error


def _whole_text(vocabulary: Sequence[bytes]) -> int:
    """Return a token that is a letter: for parts of a character nothing is reported."""
    return next((one for one, text in enumerate(vocabulary) if text.isalpha()), 0)


def _ask(
    checkpoint: Path, server: Any, tokens: Sequence[int], vocab_size: int, drawn: int
) -> Floats:
    """Return the log-probabilities of what follows `tokens`; drawn is always `drawn`."""
    answer = server.handle_completions({
        "prompt": list(tokens), "n_predict": 1, "n_probs": vocab_size, "samplers": [],
        "temperature": 1.0, "cache_prompt": True, "logit_bias": [[drawn, 1000.0]],
    })  # fmt: skip
    found = np.full(vocab_size, _NEVER, np.float32)
    try:
        for one in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            value = one["logprob"]
            if value is not None and math.isfinite(value):
                found[one["id"]] = value
    except (KeyError, IndexError, TypeError) as error:
        raise bad_file(
            checkpoint, f"got no log-probabilities from {ENGINE}: {str(answer)[:200]}"
        ) from error
    return found
