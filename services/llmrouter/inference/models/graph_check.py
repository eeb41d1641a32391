"""Whether an ONNX graph that others wrote may be opened; nothing of it is computed, or left out.

A folder is looked at when it is imported and whenever it is loaded: it may have been copied into
the store by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from llmrouter.inference.models.graph_constants import check_constants
from llmrouter.inference.models.graph_operators import GraphKind, check_operators, tensors_of
from llmrouter.inference.models.untrusted_json import broken_file, inside

__all__ = ["check_graph", "load_graph"]

_REMEDY = "fetch the folder again"
_MAX_GRAPH_BYTES = 2 * 2**30
"""Protobuf's own limit: larger models keep their weights in files beside the graph."""


def load_graph(file: Path) -> Any:
    """Return the model in `file` without the weights that lie beside it.

    Raises:
        RouterError: MODEL_UNAVAILABLE when it is none.
    """
    try:
        if file.stat().st_size > _MAX_GRAPH_BYTES:
            problem = "is larger than 2 GiB, which no ONNX graph can be"
            raise broken_file(file, problem, _REMEDY)
        return onnx.load(str(file), load_external_data=False)
    except (OSError, DecodeError) as error:
        raise broken_file(file, f"is no ONNX model ({error})", _REMEDY) from None


def check_graph(file: Path, model: Any, kind: GraphKind) -> None:
    """Check operators, what is computed of weights alone, and where weights lie.

    Args:
        file: Where `model` was read from.
        model: As `load_graph` gave it.
        kind: What it is run as.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the operator or the weight that is not supported.
    """
    check_operators(file, model, kind)
    check_constants(file, model.graph)
    sizes: dict[str, int] = {}
    for tensor in tensors_of(model.graph):
        _check_place(file, tensor, sizes)


def _check_place(file: Path, tensor: Any, sizes: dict[str, int]) -> None:
    """Check that a weight lies in a file of the folder, whose size is kept, and inside of it."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return
    # What is no UTF-8 comes as bytes.
    entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    name = str(tensor.name)[:80]
    place = entries.get("location", "")
    if place not in sizes:
        sizes[place] = inside(file.parent, place, _REMEDY).stat().st_size
    size = sizes[place]
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "0"))
    except ValueError:
        raise broken_file(file, f"places tensor '{name!a}' at no number", _REMEDY) from None
    if offset < 0 or length < 0 or offset + length > size:
        problem = f"places tensor '{name!a}' at {offset} with {length} bytes, outside of {size}"
        raise broken_file(file, problem, _REMEDY)
