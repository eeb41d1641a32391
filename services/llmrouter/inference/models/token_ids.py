"""Whether the tokens that a tokenizer makes are those of its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmrouter.inference.models.folder import TOKENIZER_FILE
from llmrouter.inference.models.untrusted_json import broken_file

__all__ = ["PROBE", "check_ids"]

PROBE = "A text."
"""Encoding it tells what a tokenizer puts around every text, which its vocabulary does not."""


def check_ids(folder: Path, ids: Sequence[int], vocab_size: int) -> None:
    """Check the tokens that the tokenizer of `folder` made of `PROBE`.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the tokenizer's file and an id from `vocab_size` up.
    """
    highest = max(ids, default=0)
    if highest >= vocab_size:
        raise broken_file(
            folder / TOKENIZER_FILE,
            f"puts the token id {highest} around a text, the model knows {vocab_size}",
            "import the model again",
        )
