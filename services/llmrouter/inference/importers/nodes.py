"""Collects the nodes and small constants of a graph while it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["CONTRIB", "Nodes"]

CONTRIB = "com.microsoft"


class Nodes:
    """Nodes in the order in which they compute, and the constants inside of the graph."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(
        self, kind: str, inputs: list[str], *, domain: str = "", output: str = "", **attributes: Any
    ) -> str:
        """Add a node with one result and return its name."""
        output = output or f"{kind}.{len(self.made)}"
        self.add_many(kind, inputs, [output], domain=domain, **attributes)
        return output

    def add_many(
        self, kind: str, inputs: list[str], outputs: list[str], *, domain: str = "",
        **attributes: Any,
    ) -> None:  # fmt: skip
        """Add a node whose results have these names; empty ones are not computed."""
        node = helper.make_node(kind, inputs, outputs, domain=domain, name=outputs[0], **attributes)
        self.made.append(node)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Keep a small value, once, and return `name`."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def integers(self, *values: int) -> str:
        """Keep whole numbers, such as a shape, and return their name."""
        name = "integers." + "_".join(map(str, values))
        return self.constant(name, np.array(values, np.int64))
