"""Tools that a model may ask for, and what it asks: the gateway passes both on and runs none.

The bounds stand beside each field in the protos and are checked by `validation_tools.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Tool", "ToolCall", "ToolCallPiece", "ToolChoice", "ToolWishes", "put_together"]


class ToolChoice(StrEnum):
    """Whether the model asks for tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"
    """For the one that is named."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool."""

    name: str
    description: str = ""
    """What it is for, in words for the model."""
    parameters: str = ""
    """What it takes: a JSON Schema as JSON text; empty takes nothing."""
    strict: bool | None = None
    """Whether arguments must fit the schema exactly; None is the provider's default."""


@dataclass(frozen=True, slots=True)
class ToolWishes:
    """The tools of a request."""

    tools: tuple[Tool, ...]
    choice: ToolChoice = ToolChoice.AUTO
    name: str = ""
    """The tool to be asked for by `NAMED`."""
    parallel: bool | None = None
    """Whether several may be asked for at once; None is the provider's default."""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that the model reads of them."""
        return tuple(
            part for one in self.tools for part in (one.name, one.description, one.parameters)
        )


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks for a tool."""

    id: str
    name: str
    arguments: str
    """JSON text as the model wrote it; it need not be valid."""


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """New text of a call; the first piece of one has its id and its name."""

    index: int
    """Which call of the choice, from 0."""
    id: str = ""
    name: str = ""
    arguments: str = ""


def put_together(pieces: Iterable[ToolCallPiece]) -> tuple[ToolCall, ...]:
    """Return the calls that pieces make up, in order of their indices."""
    calls: dict[int, list[ToolCallPiece]] = {}
    for one in pieces:
        calls.setdefault(one.index, []).append(one)
    return tuple(_whole(calls[index]) for index in sorted(calls))


def _whole(pieces: Sequence[ToolCallPiece]) -> ToolCall:
    return ToolCall(
        next((one.id for one in pieces if one.id), ""),
        next((one.name for one in pieces if one.name), ""),
        "".join(one.arguments for one in pieces),
    )
