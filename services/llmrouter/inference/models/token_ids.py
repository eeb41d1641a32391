"""Whether a tokenizer works, and makes the tokens of its model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from llmrouter.inference.models.folder import TOKENIZER_FILE
from llmrouter.inference.models.untrusted_json import broken_file

__all__ = ["probe_tokens"]

_PROBE = "A text."
"""Encoding it tells what a tokenizer puts around every text, which its vocabulary does not."""
_PANICS = "pyo3_runtime"
"""The module of what the tokenizers' library raises where it breaks: no Exception of Python's."""
_REMEDY = "import the model again"


def probe_tokens(
    folder: Path, encode: Callable[[str], Sequence[int]], vocab_size: int
) -> Sequence[int]:
    """Return the tokens of a short text; takes a moment, so call it in a thread.

    Args:
        folder: Where the tokenizer lies, for the errors.
        encode: The tokenizer, control tokens added.
        vocab_size: Tokens that the model knows.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the tokenizer's file, where it breaks and where it
            makes an id from `vocab_size` up.
    """
    file = folder / TOKENIZER_FILE
    try:
        ids = encode(_PROBE)
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != _PANICS:
            raise
        raise broken_file(file, f"cannot encode a text ({error})", _REMEDY) from error
    highest = max(ids, default=0)
    if highest >= vocab_size:
        problem = f"puts the token id {highest} around a text, the model knows {vocab_size}"
        raise broken_file(file, problem, _REMEDY)
    return ids
