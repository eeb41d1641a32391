"""Sizes as people write them."""

from __future__ import annotations

import pytest
import typer

from llmrouter.cli.budgeting import limits, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1), ("2GB", 2 * 10**9), ("1.5 GB", 1_500_000_000), ("512MiB", 512 * 2**20),
        ("7 kB", 7000), ("1T", 10**12), ("10B", 10),
    ],
)  # fmt: skip
def test_sizes_are_read_in_either_thousand(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "2XB", "0", "1.5.5GB", "9" * 40, "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_size(text)


def test_a_cache_without_a_budget_is_wrong_usage() -> None:
    with pytest.raises(typer.BadParameter, match="needs --memory-budget"):
        limits(None, 5, as_json=False)
    assert limits(None, None, as_json=False) == {}
