"""How long a model's sequences may get: by its folder, its graph and the settings."""

from __future__ import annotations

from pathlib import Path

import structlog

from llmrouter.common.errors import invalid
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.native_graph import read_graph
from llmrouter.inference.models.folder import ModelFolder

__all__ = ["choose_context", "rotary_positions"]

_ATTENTION = ("com.microsoft", "GroupQueryAttention")
_ANGLES = slice(7, 9)
"""Its inputs that hold cosines and sines, a row for each position."""
_log = structlog.get_logger("llmrouter.models")


def choose_context(folder: ModelFolder, options: BackendOptions) -> int:
    """Return how many tokens of prompt and answer together a sequence may hold.

    A folder that promises more than its graph has angles for holds as many as those.

    Raises:
        RouterError: INVALID_ARGUMENT for options out of bounds.
    """
    if not 1 <= options.slots <= 256:
        raise invalid("slots", f"{options.slots} is outside 1 to 256")
    most = folder.context_length
    positions = rotary_positions(folder.model_file)
    if positions is not None and positions < most:
        told = {"model": folder.path.name, "said": most, "positions": positions}
        _log.warning("the graph has angles for fewer positions than its folder says", **told)
        most = positions
    if options.context > most:
        made = f"the {most} tokens that {folder.path.name} was made for"
        raise invalid("context", f"{options.context} is more than {made}")
    return options.context or most


def rotary_positions(file: Path) -> int | None:
    """Return for how many positions a graph holds angles; None where it does not hold them."""
    model = read_graph(file)
    if model is None:
        return None
    rows = {one.name: one.dims[0] for one in model.graph.initializer if len(one.dims) == 2}
    held = [
        rows[name]
        for node in model.graph.node
        if (node.domain, node.op_type) == _ATTENTION
        for name in node.input[_ANGLES]
        if name in rows
    ]
    return max(1, min(held)) if held else None
