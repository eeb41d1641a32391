"""What was learned as bytes, and back: arrays and JSON, nothing that could run.

The graded examples are kept, not the weights: weights follow from them, and a later version may
learn more from the same grades.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from llmrouter.common.prompt_features import SHAPE, SKETCH_SIZE, VERSION, PromptFeatures
from llmrouter.selector.learned.examples import Example, grade_table

__all__ = ["MAX_EXAMPLES", "UnreadableStateError", "dump", "load"]

MAX_EXAMPLES = 100_000
_MAX_MODELS = 1000
_MAX_BYTES = 1 << 30


class UnreadableStateError(ValueError):
    """The bytes are not what `dump` writes; start without them."""


def dump(examples: Sequence[Example]) -> bytes:
    """Return the examples as an `.npz` file without pickled objects; about 0.5 KiB an example."""
    models, table = grade_table(examples)
    told = {"version": VERSION, "models": models, "keys": [one.key for one in examples]}
    shapes = np.frombuffer(b"".join(one.features.shape for one in examples), np.uint8)
    words = np.frombuffer(b"".join(one.features.sketch for one in examples), np.int8)
    written = io.BytesIO()
    np.savez_compressed(
        written,
        told=np.frombuffer(json.dumps(told).encode(), np.uint8),
        shapes=shapes.reshape(len(examples), len(SHAPE)),
        words=words.reshape(len(examples), SKETCH_SIZE),
        grades=table.astype(np.float32),
    )
    return written.getvalue()


def load(content: bytes) -> tuple[Example, ...]:
    """Return the examples; none when they were made with another version of the features.

    Raises:
        UnreadableStateError: The bytes are damaged, too large or something else altogether.
    """
    arrays = _arrays(content)
    try:
        told = json.loads(arrays["told"].tobytes())
        if told["version"] != VERSION:
            return ()
        keys, models = list(map(str, told["keys"])), list(map(str, told["models"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UnreadableStateError(f"the description is damaged: {error}") from error
    if len(keys) > MAX_EXAMPLES or len(models) > _MAX_MODELS:
        raise UnreadableStateError(f"{len(keys)} examples of {len(models)} models are too many")
    shapes = _checked(arrays, "shapes", np.uint8, (len(keys), len(SHAPE)))
    words = _checked(arrays, "words", np.int8, (len(keys), SKETCH_SIZE))
    grades = _checked(arrays, "grades", np.float32, (len(keys), len(models)))
    if not bool(np.all(np.isnan(grades) | ((grades >= 0) & (grades <= 1)))):
        raise UnreadableStateError("a grade is not in 0 to 1")
    return tuple(
        Example(
            key,
            PromptFeatures(shapes[row].tobytes(), words[row].tobytes()),
            {
                name: float(grade)
                for name, grade in zip(models, grades[row], strict=True)
                if np.isfinite(grade)
            },
        )
        for row, key in enumerate(keys)
    )


def _arrays(content: bytes) -> dict[str, Any]:
    try:
        size = _unpacked(content)
        arrays = dict(_read(content)) if size <= _MAX_BYTES else None
    # What numpy and zipfile raise for damaged files is not documented.
    except Exception as error:
        raise UnreadableStateError(f"not a file of learned state: {error}") from error
    if arrays is None:
        raise UnreadableStateError(f"it would unpack to {size} bytes; at most {_MAX_BYTES}")
    return arrays


def _unpacked(content: bytes) -> int:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return sum(member.file_size for member in archive.infolist())


def _read(content: bytes) -> Iterator[tuple[str, Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        for name in ("told", "shapes", "words", "grades"):
            yield name, archive[name]


def _checked(arrays: dict[str, Any], name: str, kind: type, shape: tuple[int, int]) -> Any:
    array = arrays[name]
    if array.dtype != kind or array.shape != shape:
        found = f"{array.dtype}{array.shape}"
        raise UnreadableStateError(f"{name} is {found}, not {kind.__name__}{shape}")
    return array
