"""Tools and their calls in OpenAI's words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from llmrouter.common.generation import Message
from llmrouter.common.tools import Tool, ToolCallPiece, ToolChoice, ToolWishes

__all__ = ["call_pieces", "tools_body", "turn_body"]


def turn_body(turn: Message) -> dict[str, Any]:
    """Return one turn of a chat."""
    body: dict[str, Any] = {"role": turn.role.value, "content": turn.text}
    if turn.tool_calls:
        body["content"] = turn.text or None
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in turn.tool_calls
        ]
    if turn.tool_call_id:
        body["tool_call_id"] = turn.tool_call_id
    return body


def tools_body(wishes: ToolWishes) -> dict[str, Any]:
    """Return the fields of a request that tell of tools."""
    body: dict[str, Any] = {"tools": [_tool(one) for one in wishes.tools]}
    if wishes.choice is ToolChoice.NAMED:
        body["tool_choice"] = {"type": "function", "function": {"name": wishes.name}}
    elif wishes.choice is not ToolChoice.AUTO:
        body["tool_choice"] = wishes.choice.value
    if wishes.parallel is not None:
        body["parallel_tool_calls"] = wishes.parallel
    return body


def call_pieces(told: Iterable[Mapping[str, Any]]) -> tuple[ToolCallPiece, ...]:
    """Return what a chunk says of calls."""
    return tuple(
        ToolCallPiece(
            int(one["index"]),
            str(one.get("id") or ""),
            str(one["function"].get("name") or ""),
            str(one["function"].get("arguments") or ""),
        )
        for one in told
    )


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = json.loads(tool.parameters)
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}
