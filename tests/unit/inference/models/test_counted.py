"""What a model counts for: its weights, and the keys and values that it may come to hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.inference.models.tiny_folder import write_tiny_folder

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.models.counted import cached_context, counted_bytes
from llmrouter.inference.models.folder import ModelFolder, read_folder

BARE = BackendOptions(slots=2, context=10, cache_bytes=1, prefix_bytes=0, parked_bytes=0)
POSITION = 2 * 2 * 2 * 16 * 4
"""Keys and values of 2 layers with 2 heads of 16 values, whole."""


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return read_folder(write_tiny_folder(tmp_path))


def more(folder: ModelFolder, **options: object) -> int:
    """What it counts for beyond its weights."""
    return counted_bytes(folder, replace(BARE, **options)) - int(folder.size_bytes * 1.4)  # type: ignore[arg-type]


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
