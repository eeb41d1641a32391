"""What a precision costs: perplexity, KL divergence and top-1 agreement on a text of our own.

Both models read `evaluation.txt` with all positions' logits (`logits_to_keep`), in chunks whose
cache is carried over, so that memory stays bounded. The reference is the graph made of the same
weights without quantisation.
"""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.card import Quality
from llmrouter.inference.models.ctranslate2_folder import CTranslate2Folder
from llmrouter.inference.models.folder import ModelFolder
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.text import load_text
from llmrouter.inference.models.untrusted_json import broken_file

__all__ = ["evaluation_tokens", "exact_quality", "measure_quality", "write_reference"]

Array = npt.NDArray[np.float32]

_CHUNK = 128
_MAX_SURPRISE = 100.0
"""Nats per token; a model that knows nothing has the logarithm of its vocabulary, some 12."""
_LOGITS_TO_KEEP = "logits_to_keep"


def evaluation_tokens(folder: ModelFolder | CTranslate2Folder) -> list[int]:
    """Return the evaluation text as tokens of this model, at most its context."""
    text = importlib.resources.files("llmrouter.inference.models").joinpath("evaluation.txt")
    tokens = load_text(folder).encode(text.read_text(encoding="utf-8"))
    return tokens[: folder.context_length]


def write_reference(
    folder: ModelFolder, tokens: list[int], file: Path, progress: Progress
) -> float:
    """Write the log-probabilities of the unquantised model to `file`, float32 [tokens, vocab].

    Returns:
        Its perplexity.

    Raises:
        RouterError: MODEL_UNAVAILABLE when ONNX Runtime is missing or refuses the model, or when
            the weights predict no numbers.
    """
    surprise, start = 0.0, 0
    with file.open("wb") as stream:
        for end, part in _log_probabilities(folder, tokens, quantised=False):
            # numpy's own writing would not say why the disk refuses.
            stream.write(np.ascontiguousarray(part, np.float32).data)
            surprise += _surprise(part, tokens, start)
            start = end
            progress("measure fp32", end, len(tokens))
    return _perplexity(surprise, len(tokens), folder.model_file)


def exact_quality(perplexity: float, tokens: int) -> Quality:
    """Return the quality of the unquantised weights themselves, of which nothing is lost."""
    return Quality(perplexity, perplexity, kl_divergence=0.0, top1_agreement=1.0, tokens=tokens)


def measure_quality(
    folder: ModelFolder, tokens: list[int], reference: Path, progress: Progress
) -> Quality:
    """Compare a model with the reference that `write_reference` wrote for the same tokens.

    Raises:
        RouterError: MODEL_UNAVAILABLE when ONNX Runtime is missing or refuses the model, or when
            the weights predict no numbers.
    """
    expected = np.memmap(reference, np.float32, "r", shape=(len(tokens), folder.vocab_size))
    ours = theirs = divergence = 0.0
    agreed = start = 0
    for end, part in _log_probabilities(folder, tokens, quantised=True):
        base = np.asarray(expected[start:end])
        ours += _surprise(part, tokens, start)
        theirs += _surprise(base, tokens, start)
        divergence += _divergence(base, part)
        agreed += int((part.argmax(axis=1) == base.argmax(axis=1)).sum())
        start = end
        progress("measure", end, len(tokens))
    return Quality(
        perplexity=_perplexity(ours, len(tokens), folder.model_file),
        reference_perplexity=_perplexity(theirs, len(tokens), folder.model_file),
        kl_divergence=max(0.0, divergence / len(tokens)),
        top1_agreement=agreed / len(tokens),
        tokens=len(tokens),
    )


def _perplexity(surprise: float, tokens: int, file: Path) -> float:
    """Return the perplexity of a text from the summed surprise of all its tokens but the first.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming `file`, the model, when there is nothing to predict,
            or when its weights predict no numbers.
    """
    if tokens < 2:
        what = "has a context of one token: there is nothing to predict"
    elif not surprise / (tokens - 1) < _MAX_SURPRISE:  # NaN compares as neither
        what = "predicts the evaluation text with no usable numbers; its weights are broken"
    else:
        return math.exp(surprise / (tokens - 1))
    raise broken_file(file, what, "import another checkpoint")


def _surprise(log_probabilities: Array, tokens: list[int], start: int) -> float:
    """Return the summed negative log-likelihood of the tokens that follow each position."""
    targets = np.array(tokens[start + 1 : start + 1 + len(log_probabilities)], np.int64)
    return -float(log_probabilities[np.arange(len(targets)), targets].sum(dtype=np.float64))


def _divergence(base: Array, part: Array) -> float:
    """Return the summed KL(base || part), of one position at a time: vocabularies are large."""
    pairs = zip(base, part, strict=True)
    return sum(float((np.exp(b) * (b - p)).sum(dtype=np.float64)) for b, p in pairs)


def _log_probabilities(
    folder: ModelFolder, tokens: list[int], *, quantised: bool
) -> Iterator[tuple[int, Array]]:
    """Yield the end of each chunk and its log-probabilities [chunk, vocab]."""
    session = _session(folder, quantised=quantised)
    names = folder.input_names
    past = _empty_cache(folder)
    outputs = [folder.output_names["logits"], *_cache_names(folder, "present", "output_names")]
    for start in range(0, len(tokens), _CHUNK):
        end = min(start + _CHUNK, len(tokens))
        feeds = {
            names["input_ids"]: np.array([tokens[start:end]], np.int64),
            names["attention_mask"]: np.ones((1, end), np.int64),
            _LOGITS_TO_KEEP: np.array([end - start], np.int64),
            **past,
        }
        logits, *present = session.run(outputs, feeds)
        past = dict(zip(past, present, strict=True))
        yield end, _log_softmax(logits[0])


def _session(folder: ModelFolder, *, quantised: bool) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    if not quantised:
        # Weights stay where the file is mapped; laid out anew for speed they would be held twice.
        options.add_session_config_entry("session.disable_prepacking", "1")
    try:
        return runtime.InferenceSession(
            str(folder.model_file), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the library raises many kinds
        raise RouterError(
            Reason.MODEL_UNAVAILABLE, f"{folder.model_file} is refused by ONNX Runtime: {error}"
        ) from error


def _runtime() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise RouterError(
            Reason.MODEL_UNAVAILABLE,
            "ONNX Runtime is not installed, so the model cannot be measured; install "
            "llmrouter[cpu] or llmrouter[gpu]",
        ) from error


def _cache_names(folder: ModelFolder, kind: str, side: str) -> list[str]:
    names = getattr(folder, side)
    return [
        names[f"{kind}_{part}_names"].replace("%d", str(layer))
        for layer in range(folder.layers)
        for part in ("key", "value")
    ]


def _empty_cache(folder: ModelFolder) -> dict[str, Array]:
    empty = np.zeros((1, folder.kv_heads, 0, folder.head_size), np.float32)
    return dict.fromkeys(_cache_names(folder, "past", "input_names"), empty)


def _log_softmax(logits: Array) -> Array:
    """Turn logits into log-probabilities where they lie, one position at a time."""
    for position in logits:
        np.subtract(position, position.max(), out=position)
        np.subtract(position, np.log(np.exp(position).sum()), out=position)
    return logits
