"""Every family, from both formats, computes what its checkpoint means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from tests.integration.models.driving import Runner
from tests.integration.models.numpy_decoder import decoder_logits
from tests.integration.models.tiny_decoder import DECODERS, Decoder, in_gguf, random_weights
from tests.integration.models.writing_folder import write_folder
from tests.integration.models.writing_gguf import write_gguf

from llmrouter.inference.importers.base import find_importer
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.progress import silent

TOKENS = [int(one) for one in np.random.default_rng(2).integers(3, 264, 40)]


def converted(source: Path, precision: str = "fp32") -> ModelFolder:
    target = source.parent / f"made-{precision}"
    target.mkdir()
    find_importer(source).open(source).convert(target, precision, silent)
    return read_folder(target)


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=DECODERS.keys())
def test_a_hugging_face_folder_computes_the_same_as_numpy(tmp_path: Path, decoder: Decoder) -> None:
    weights = write_folder(tmp_path / "folder", decoder, random_weights(decoder))
    logits = Runner(converted(tmp_path / "folder")).logits(TOKENS, keep=len(TOKENS))
    exact = decoder_logits(weights, decoder, TOKENS)
    assert np.abs(logits - exact).max() < 2e-4
    assert np.abs(exact).max() > 1


@pytest.mark.parametrize("name", [one for one in DECODERS if one != "mistral-window"])
def test_a_gguf_computes_the_same_as_numpy(tmp_path: Path, name: str) -> None:
    decoder = in_gguf(DECODERS[name])
    weights = write_gguf(tmp_path / "tiny.gguf", decoder, random_weights(decoder))
    logits = Runner(converted(tmp_path / "tiny.gguf")).logits(TOKENS, keep=len(TOKENS))
    assert np.abs(logits - decoder_logits(weights, decoder, TOKENS)).max() < 2e-4


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_type_and_sharded_folders_compute_the_same(
    tmp_path: Path, kind: str, shards: int
) -> None:
    decoder = DECODERS["qwen2"]
    weights = write_folder(tmp_path / "folder", decoder, random_weights(decoder), kind, shards)
    logits = Runner(converted(tmp_path / "folder")).logits(TOKENS, keep=len(TOKENS))
    assert np.abs(logits - decoder_logits(weights, decoder, TOKENS)).max() < 2e-4


WIDE = Decoder("llama", hidden=256, feed_forward=512, heads=4, head_size=64, layers=1)


@pytest.mark.parametrize(
    "kind",
    ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"],
)
def test_every_type_of_a_gguf_computes_the_same(tmp_path: Path, kind: str) -> None:
    weights = write_gguf(
        tmp_path / "tiny.gguf", WIDE, random_weights(WIDE), GGMLQuantizationType[kind]
    )
    logits = Runner(converted(tmp_path / "tiny.gguf")).logits(TOKENS, keep=len(TOKENS))
    exact = decoder_logits(weights, WIDE, TOKENS)
    assert np.abs(logits - exact).max() < 1e-3 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: []\n---\n# Tiny", "apache-2.0"),
        ("---\ntags: []\n---\nlicense: mit", "unknown"),
        ("license: mit", "unknown"),
        ("---\nlicense: a b\n---", "unknown"),
    ],
)
def test_the_licence_is_the_one_the_readme_states(tmp_path: Path, text: str, licence: str) -> None:
    decoder = DECODERS["llama"]
    write_folder(tmp_path / "folder", decoder, random_weights(decoder))
    (tmp_path / "folder" / "README.md").write_text(text)
    (tmp_path / "made").mkdir()
    checkpoint = find_importer(tmp_path / "folder").open(tmp_path / "folder")
    assert checkpoint.convert(tmp_path / "made", "int8", silent).licence == licence


def test_tokens_that_end_a_turn_are_known_by_their_text(tmp_path: Path) -> None:
    decoder = DECODERS["llama"]
    tokens = [f"<{one}>" for one in range(decoder.vocabulary)]
    tokens[3], tokens[7], tokens[9] = "<|im_end|>", "<|endoftext|>", "<|end|>"
    types = [3 if one in {0, 1, 2, 3, 7} else 1 for one in range(decoder.vocabulary)]
    fields = {
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": ["<0> <1>"],
    }  # fmt: skip
    fields["tokenizer.ggml.tokens"][5] = "<0><1>"
    write_gguf(tmp_path / "tiny.gguf", replace(decoder, fields=fields), random_weights(decoder))
    assert converted(tmp_path / "tiny.gguf").eos_token_ids == (2, 3, 7)
