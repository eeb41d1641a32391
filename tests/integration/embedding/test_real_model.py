"""The pulled MiniLM, where it is in the store."""

import os
from pathlib import Path

import numpy as np
import pytest

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.generation import RequestContext
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.onnx_embedder import OnnxEmbedder

pytestmark = pytest.mark.model

NAME = "all-minilm-l6-v2-int8"
PARAPHRASES = (
    ("A man is eating food.", "Someone is having a meal."),
    ("How do I reset my password?", "I forgot my login and want a new one."),
    ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
    ("Shares fell sharply on Monday.", "The stock market dropped at the start of the week."),
)
TOLERANCE = 1e-5
"""Its weights are 8 bits wide but its activations are not, so a row never depends on the others."""


@pytest.fixture
async def embedder():
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    path = data / "llmrouter" / "models" / NAME
    if not (path / "llmrouter.json").is_file():
        pytest.skip(f"{NAME} is not in the store: run `llmrouter models pull {NAME}`")
    options = BackendOptions(batch_padding=0.95, batch_window_seconds=0.05)
    made = await OnnxEmbedder.load(path, options)
    yield made
    await made.close()


async def vectors(embedder, texts):
    found = await embedder.embed(EmbeddingRequest(tuple(texts)), RequestContext("r"))
    return np.array([one.values for one in found])


async def test_paraphrases_are_more_alike_than_unrelated_sentences(embedder):
    left = await vectors(embedder, [pair[0] for pair in PARAPHRASES])
    right = await vectors(embedder, [pair[1] for pair in PARAPHRASES])
    likeness = left @ right.T
    others = likeness - 2 * np.eye(len(PARAPHRASES))
    assert likeness.diagonal().min() > others.max() + 0.1


async def test_texts_of_different_lengths_together_equal_each_alone(embedder):
    texts = [PARAPHRASES[0][0], "Yes.", " ".join(pair[1] for pair in PARAPHRASES) * 3]
    before = embedder.statistics().steps
    together = await vectors(embedder, texts)
    assert embedder.statistics().steps == before + 1
    for text, found in zip(texts, together, strict=True):
        np.testing.assert_allclose(found, (await vectors(embedder, [text]))[0], atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
