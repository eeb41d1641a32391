"""What a model counts for: weights, what is computed with them, and keys and values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.embedding.tiny_encoder import write_encoder
from tests.unit.inference.models.tiny_folder import write_tiny_folder

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.models.counted import cached_context, computing_bytes, count
from llmrouter.inference.models.embedding_folder import read_embedding_folder
from llmrouter.inference.models.folder import ModelFolder, read_folder

WORKSPACE = 1000
BARE = BackendOptions(
    slots=2, context=10, cache_bytes=1, prefix_bytes=0, parked_bytes=0, workspace_bytes=WORKSPACE
)
POSITION = 2 * 2 * 2 * 16 * 4
"""Keys and values of 2 layers with 2 heads of 16 values, whole."""


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return read_folder(write_tiny_folder(tmp_path))


def more(folder: ModelFolder, **options: object) -> int:
    """What it counts for beyond its weights and what is computed with them."""
    bare = int(folder.size_bytes * 1.4) + WORKSPACE
    return count(folder, replace(BARE, **options)).total - bare  # type: ignore[arg-type]


def test_running_sequences_count_as_far_as_they_may_grow(folder: ModelFolder) -> None:
    assert more(folder, cache_bytes=0) == 2 * 10 * POSITION
    assert more(folder, cache_bytes=0, context=0) == 2 * folder.context_length * POSITION
    assert more(folder, cache_bytes=5000) == 5000


def test_no_more_counts_than_all_slots_can_fill(folder: ModelFolder) -> None:
    assert more(folder, cache_bytes=1 << 40) == 2 * 10 * POSITION


def test_parked_sequences_and_earlier_prompts_count_too(folder: ModelFolder) -> None:
    assert more(folder, cache_bytes=5000, parked_bytes=300, prefix_bytes=7) == 5307
    assert more(folder, cache_bytes=5000, parked_bytes=1 << 40) == 10_000


def test_no_sequence_is_longer_than_the_memory_of_all(folder: ModelFolder) -> None:
    assert cached_context(folder, replace(BARE, cache_bytes=0)) == 10
    assert cached_context(folder, replace(BARE, cache_bytes=7 * POSITION)) == 7
    assert cached_context(folder, replace(BARE, cache_bytes=1 << 40, context=0)) == 128


@pytest.mark.parametrize(
    ("options", "halved"),
    [
        ({"cache_type": "float16"}, True),
        ({"cache_type": "float32"}, False),
        ({"cache_type": "auto"}, False),  # nobody knows whether it is quantised
        ({"cache_type": "float16", "kernels": "onnxruntime"}, False),
    ],
)
def test_keys_and_values_count_as_they_are_kept(
    folder: ModelFolder, options: dict[str, str], halved: bool
) -> None:
    assert more(folder, cache_bytes=0, **options) == 2 * 10 * POSITION // (2 if halved else 1)


def test_what_onnxruntime_is_given_is_what_a_model_counts_for_beside_keys_and_values(
    folder: ModelFolder,
) -> None:
    given = computing_bytes(folder, BARE)
    assert given == count(folder, BARE).total - 1
    assert given == int(folder.size_bytes * 1.4) + WORKSPACE


def test_a_workspace_that_is_not_set_grows_with_what_a_step_computes(folder: ModelFolder) -> None:
    def workspace(**options: int) -> int:
        return computing_bytes(folder, replace(BARE, cache_bytes=0, workspace_bytes=0, **options))

    # The logits of every token, and of each its scores against the whole context.
    longer = workspace(prefill_chunk=300) - workspace(prefill_chunk=200)
    assert longer >= 100 * 4 * (folder.vocab_size + 10 * folder.heads)
    assert workspace(slots=3) > workspace(slots=2)
    assert workspace(speculation_tokens=9) > workspace(speculation_tokens=8)
    assert workspace(context=20) > workspace(context=10)


def test_an_encoder_counts_for_a_text_that_fills_its_context(tmp_path: Path) -> None:
    short = write_encoder(tmp_path / "short", num_attention_heads=2)
    long = write_encoder(tmp_path / "long", num_attention_heads=2, max_position_embeddings=1 << 14)
    (long / "sentence_bert_config.json").unlink()
    counted = [count(read_embedding_folder(one), BackendOptions()).total for one in (short, long)]
    square = (1 << 28) * 2 * 4
    assert counted[1] - counted[0] > square
    assert count(read_embedding_folder(short), BARE).total < WORKSPACE + (1 << 20)


def test_every_part_is_told_with_what_makes_it_smaller(folder: ModelFolder) -> None:
    told = count(folder, replace(BARE, parked_bytes=5 << 20, cache_bytes=0, slots=256, context=128))
    assert told.told() == (
        "weights 0, workspace (inference.workspace_mib) 0, "
        "running sequences (cache_mib, slots) 16, parked ones (parked_cache_mib) 5"
    )
