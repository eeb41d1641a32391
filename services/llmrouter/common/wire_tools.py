"""Tools and their calls to protos and back: the only file that knows both."""

from __future__ import annotations

from collections.abc import Iterable

from llmrouter.common.errors import invalid
from llmrouter.common.tools import Tool, ToolCall, ToolCallPiece, ToolChoice, ToolWishes
from llmrouter.v1 import generation_pb2 as pb

__all__ = [
    "decode_calls",
    "decode_pieces",
    "decode_tools",
    "encode_calls",
    "encode_pieces",
    "encode_tools",
]

_CHOICES = {
    pb.TOOL_CHOICE_UNSPECIFIED: ToolChoice.AUTO,
    pb.TOOL_CHOICE_AUTO: ToolChoice.AUTO,
    pb.TOOL_CHOICE_NONE: ToolChoice.NONE,
    pb.TOOL_CHOICE_REQUIRED: ToolChoice.REQUIRED,
    pb.TOOL_CHOICE_NAMED: ToolChoice.NAMED,
}
_CHOICES_OUT = {value: key for key, value in _CHOICES.items()}


def decode_tools(request: pb.GenerateRequest) -> ToolWishes | None:
    """Return the tools of a question; None where it has none.

    Raises:
        RouterError: INVALID_ARGUMENT for a choice without a meaning.
    """
    if not request.HasField("tools"):
        return None
    wishes = request.tools
    if wishes.choice not in _CHOICES:
        raise invalid("tools.choice", f"is {wishes.choice}; it must be a named ToolChoice")
    return ToolWishes(
        tuple(
            Tool(
                one.name,
                one.description,
                one.parameters,
                one.strict if one.HasField("strict") else None,
            )
            for one in wishes.tools
        ),
        _CHOICES[wishes.choice],
        wishes.name,
        wishes.parallel if wishes.HasField("parallel") else None,
    )


def encode_tools(wishes: ToolWishes | None) -> pb.ToolWishes | None:
    """Return the proto of tools."""
    if wishes is None:
        return None
    return pb.ToolWishes(
        tools=[
            pb.Tool(
                name=one.name,
                description=one.description,
                parameters=one.parameters,
                strict=one.strict,
            )
            for one in wishes.tools
        ],
        choice=_CHOICES_OUT[wishes.choice],
        name=wishes.name,
        parallel=wishes.parallel,
    )


def decode_calls(calls: Iterable[pb.ToolCall]) -> tuple[ToolCall, ...]:
    """Return what a model asked for."""
    return tuple(ToolCall(one.id, one.name, one.arguments) for one in calls)


def encode_calls(calls: Iterable[ToolCall]) -> list[pb.ToolCall]:
    """Return the protos of what a model asked for."""
    return [pb.ToolCall(id=one.id, name=one.name, arguments=one.arguments) for one in calls]


def decode_pieces(pieces: Iterable[pb.ToolCallPiece]) -> tuple[ToolCallPiece, ...]:
    """Return new text of calls."""
    return tuple(ToolCallPiece(one.index, one.id, one.name, one.arguments) for one in pieces)


def encode_pieces(pieces: Iterable[ToolCallPiece]) -> list[pb.ToolCallPiece]:
    """Return the protos of new text of calls."""
    return [
        pb.ToolCallPiece(index=one.index, id=one.id, name=one.name, arguments=one.arguments)
        for one in pieces
    ]
