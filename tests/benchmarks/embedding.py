"""How fast texts become vectors: the engine's batches beside a bare ONNX Runtime session.

The bare session gets the same texts, one at a time, and in batches of 32 as they come; tokenizing
counts, pooling is left out. Needs `llmrouter models pull all-minilm-l6-v2-int8`.
"""

import asyncio
import statistics
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime
from tests.benchmarks.report import Report

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.generation import RequestContext
from llmrouter.common.settings import data_directory
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.onnx_embedder import OnnxEmbedder
from llmrouter.inference.models.embedding_folder import read_embedding_folder
from llmrouter.inference.models.text_files import load_tokenizer

MODEL = "all-minilm-l6-v2-int8"
TEXTS = 100
WORDS = (6, 12, 24, 48, 96)
"""Of texts that follow each other: a question, a few sentences, a paragraph."""
ROUNDS = 5
BATCH = 32
THREADS = 2
_PAUSE = 0.3
"""Until the threads of who was measured before have stopped waiting for work."""
TARGETS = {"engine_over_bare_batches": ("at_least", 1.0)}


def add_options(parser):
    """Add the place of the model."""
    parser.add_argument("--store", type=Path, default=data_directory() / "models")


def run(arguments):
    """Return texts a second, medians of rounds that take turns."""
    folder = read_embedding_folder(arguments.store / MODEL)
    report = Report("embedding", targets=TARGETS)
    rates = asyncio.run(_measure(folder))
    for name, values in rates.items():
        report.figures[f"{name}_texts_per_second"] = statistics.median(values)
        report.spreads[f"{name}_texts_per_second"] = (min(values), max(values))
    for other in ("bare_alone", "bare_batches"):
        ratios = [one / two for one, two in zip(rates["engine"], rates[other], strict=True)]
        report.figures[f"engine_over_{other}"] = statistics.median(ratios)
        report.spreads[f"engine_over_{other}"] = (min(ratios), max(ratios))
    report.notes["settings"] = {"texts": TEXTS, "words": WORDS, "batch": BATCH, "threads": THREADS}
    return report


def _texts():
    """Return texts of all lengths in turn."""
    words = files("llmrouter.inference.models").joinpath("evaluation.txt").read_text().split()
    found, at = [], 0
    for number in range(TEXTS):
        length = WORDS[number % len(WORDS)]
        found.append(" ".join(words[at : at + length]))
        at = (at + length) % (len(words) - max(WORDS))
    return found


async def _measure(folder):
    texts = _texts()
    tokenizer = load_tokenizer(folder.path, folder.vocab_size)
    options = BackendOptions(threads=THREADS, batch_size=BATCH)
    embedder = await OnnxEmbedder.load(folder.path, options)
    bare = _Bare(folder, tokenizer)
    rates = {"engine": [], "bare_alone": [], "bare_batches": []}
    try:
        for number in range(ROUNDS + 1):
            seconds = {
                "engine": await _timed(lambda: _engine(embedder, texts)),
                "bare_alone": await _timed(lambda: asyncio.to_thread(bare.run, texts, 1)),
                "bare_batches": await _timed(lambda: asyncio.to_thread(bare.run, texts, BATCH)),
            }
            for name, spent in seconds.items() if number else ():  # the first warms up
                rates[name].append(len(texts) / spent)
    finally:
        await embedder.close()
    return rates


async def _timed(work):
    await asyncio.sleep(_PAUSE)
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _engine(embedder, texts):
    """Ask as many callers would: a text each, all at once."""
    asked = (embedder.embed(EmbeddingRequest((one,)), RequestContext("bench")) for one in texts)
    await asyncio.gather(*asked)


class _Bare:
    """A session of ONNX Runtime, and nothing around it."""

    def __init__(self, folder, tokenizer):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        self._session = onnxruntime.InferenceSession(
            str(folder.model_file), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._tokenizer, self._context = tokenizer, folder.context_length

    def run(self, texts, size):
        """Compute all, `size` at a time, each batch padded to its longest."""
        for at in range(0, len(texts), size):
            found = self._tokenizer.encode_batch(texts[at : at + size])
            rows = [one.ids[: self._context] for one in found]
            ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
            mask = np.zeros_like(ids)
            for row, (one, seen) in zip(rows, zip(ids, mask, strict=True), strict=True):
                one[: len(row)], seen[: len(row)] = row, 1
            fed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            self._session.run(None, {name: fed[name] for name in self._inputs})
