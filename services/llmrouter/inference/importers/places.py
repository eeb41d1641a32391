"""Where a checkpoint keeps the tensors that a graph is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from llmrouter.inference.importers.architecture import Architecture, needed_tensors

__all__ = ["Place", "first_row", "stored_shapes"]


class Place(NamedTuple):
    """A tensor, or some rows of a larger one."""

    stored: str
    """The name in the file."""
    first_row: int = 0


def first_row(model: Architecture, part: str) -> int:
    """Return where one of a layer's matrices begins in those that are stored as one.

    Phi-3 keeps q, k and v one above the other, and gate and up.
    """
    return {
        "attn_k": model.query_width,
        "attn_v": model.query_width + model.shared_width,
        "ffn_up": model.feed_forward,
    }.get(part, 0)


def stored_shapes(model: Architecture, places: Mapping[str, Place]) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor that must be in the file.

    Args:
        model: Whose.
        places: From the name of every needed tensor to where it lies.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in needed_tensors(model).items():
        where = places[name]
        before = shapes.get(where.stored, (0,))[0]
        shapes[where.stored] = (max(before, where.first_row + shape[0]), *shape[1:])
    return shapes
