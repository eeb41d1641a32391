"""A graded example as a document that a state store keeps, and back: JSON, nothing that could run.

The examples are kept, not the weights: weights follow from them, and a later version may learn more
from the same grades.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

from llmrouter.common.prompt_features import SHAPE, SKETCH_SIZE, VERSION, PromptFeatures
from llmrouter.selector.learned.examples import Example

__all__ = ["UnreadableExampleError", "document_of", "example_from"]

_MAX_MODELS = 1000


class UnreadableExampleError(ValueError):
    """The document is not what `document_of` writes."""


def document_of(example: Example) -> dict[str, Any]:
    """Return an example as plain data, about 1 KiB as JSON."""
    return {
        "version": example.features.version,
        "at": example.at,
        "shape": base64.b64encode(example.features.shape).decode(),
        "sketch": base64.b64encode(example.features.sketch).decode(),
        "grades": dict(example.grades),
    }


def example_from(key: str, data: Mapping[str, Any]) -> Example | None:
    """Return the example; None when it was made with another version of the features.

    Raises:
        UnreadableExampleError: The document is damaged, or something else altogether.
    """
    try:
        if data["version"] != VERSION:
            return None
        shape, sketch = _bytes(data["shape"], len(SHAPE)), _bytes(data["sketch"], SKETCH_SIZE)
        at, grades = float(data["at"]), _grades(data["grades"])
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UnreadableExampleError(f"the graded example {key!r} is damaged: {error}") from error
    return Example(key, PromptFeatures(shape, sketch), grades, at)


def _bytes(text: Any, size: int) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if len(content) != size:
        raise ValueError(f"{len(content)} bytes where {size} are needed")
    return content


def _grades(told: Any) -> dict[str, float]:
    grades = {str(name): float(grade) for name, grade in told.items()}
    if not 1 <= len(grades) <= _MAX_MODELS:
        raise ValueError(f"{len(grades)} models")
    for grade in grades.values():
        if not (math.isfinite(grade) and 0 <= grade <= 1):
            raise ValueError(f"the grade {grade} is not in 0 to 1")
    return grades
