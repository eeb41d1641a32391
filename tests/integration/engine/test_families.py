"""Imported models of every family answer alike, whoever computes their attention."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.integration.engine.driving import Ask, run_together
from tests.integration.models.driving import Runner
from tests.integration.models.tiny_decoder import DECODERS, random_weights
from tests.integration.models.writing_folder import write_folder

from llmrouter import _native
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.native_graph import rewrite_graph
from llmrouter.inference.backends.onnxruntime import make_engine
from llmrouter.inference.backends.ort_loading import decoder_tensors
from llmrouter.inference.importers.huggingface import HuggingFaceImporter
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.progress import silent

FALLS_BACK = {"mistral-window", "gemma2", "phi3"}
"""Windows and capped scores are left to ONNX Runtime's attention."""
PROMPTS = [np.random.default_rng(4).integers(3, 264, n).tolist() for n in (1, 5, 12, 30)]


@pytest.fixture(params=DECODERS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> ModelFolder:
    decoder = DECODERS[request.param]
    write_folder(tmp_path / "source", decoder, random_weights(decoder))
    made = tmp_path / request.param
    made.mkdir()
    HuggingFaceImporter.open(tmp_path / "source").convert(made, "fp32", silent)
    return read_folder(made)


def answers(folder: ModelFolder, kernels: str) -> list[list[int]]:
    options = BackendOptions(threads=2, slots=3, kernels=kernels, prefill_chunk=8)
    engine = make_engine(folder.path, options)
    try:
        asked = [Ask(prompt, max_tokens=20) for prompt in PROMPTS]
        said = run_together(engine, asked)
    finally:
        engine.stop()
    assert all(answer.failed is None for answer in said)
    return [answer.tokens for answer in said]


@pytest.mark.skipif(not _native.detect_processor().avx2, reason="our kernels need AVX2")
def test_both_attentions_give_the_tokens_of_a_plain_session(folder: ModelFolder) -> None:
    rewritten = rewrite_graph(folder.model_file, multiply=True, pack=decoder_tensors(folder))
    packed = rewritten is not None and rewritten.packed
    assert packed == (folder.path.name not in FALLS_BACK)
    plain = Runner(folder)
    expected = [plain.greedy(prompt, 20) for prompt in PROMPTS]
    assert answers(folder, "onnxruntime") == expected
    assert answers(folder, "native") == expected
