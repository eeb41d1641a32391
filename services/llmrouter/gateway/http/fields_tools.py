"""The fields of chats that tell of tools, by OpenAI's names."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["NamedTool", "ToolCallFields", "ToolFields"]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class FunctionFields(_Fields):
    """One function that the caller runs."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolFields(_Fields):
    """One tool; functions are all there are."""

    type: Literal["function"]
    function: FunctionFields


class CalledFunction(_Fields):
    """What the model asked for."""

    name: str
    arguments: str


class ToolCallFields(_Fields):
    """One call of an earlier turn; `index` is what streamed answers have there."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None


class ToolName(_Fields):
    """Names a function."""

    name: str


class NamedTool(_Fields):
    """Has the model ask for one tool."""

    type: Literal["function"]
    function: ToolName
