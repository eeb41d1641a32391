"""Tools and their calls in Anthropic's words."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from llmrouter.common.errors import FieldViolation, Reason, RouterError
from llmrouter.common.generation import Message, Role
from llmrouter.common.tools import ToolCall, ToolChoice, ToolWishes

__all__ = ["tools_body", "turn_bodies"]

_CHOICES = {ToolChoice.NONE: "none", ToolChoice.REQUIRED: "any", ToolChoice.NAMED: "tool"}


def turn_bodies(turns: Iterable[Message]) -> list[dict[str, Any]]:
    """Return the turns of a chat; what several tools gave is one turn of the user's.

    Raises:
        RouterError: UNSUPPORTED_OPTION: the arguments of a call are no JSON object.
    """
    bodies = []
    for results, group in groupby(turns, lambda one: one.role is Role.TOOL):
        if results:
            bodies.append({"role": "user", "content": [_result(one) for one in group]})
        else:
            bodies += [_turn(one) for one in group]
    return bodies


def tools_body(wishes: ToolWishes) -> dict[str, Any]:
    """Return the fields of a request that tell of tools."""
    body: dict[str, Any] = {
        "tools": [
            {
                "name": one.name,
                "description": one.description,
                "input_schema": json.loads(one.parameters or '{"type": "object"}'),
            }
            for one in wishes.tools
        ]
    }
    choice: dict[str, Any] = {"type": _CHOICES.get(wishes.choice, "auto")}
    if wishes.choice is ToolChoice.NAMED:
        choice["name"] = wishes.name
    if wishes.parallel is not None and wishes.choice is not ToolChoice.NONE:
        choice["disable_parallel_tool_use"] = not wishes.parallel
    if choice != {"type": "auto"}:
        body["tool_choice"] = choice
    return body


def _turn(turn: Message) -> dict[str, Any]:
    if not turn.tool_calls:
        return {"role": turn.role.value, "content": turn.text}
    said = [{"type": "text", "text": turn.text}] if turn.text else []
    return {"role": turn.role.value, "content": [*said, *map(_use, turn.tool_calls)]}


def _use(call: ToolCall) -> dict[str, Any]:
    try:
        given = json.loads(call.arguments or "{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        told = "are no JSON object, which this provider's API wants"
        field = "chat.messages.tool_calls.arguments"
        raise RouterError(
            Reason.UNSUPPORTED_OPTION, f"{field} {told}", violations=(FieldViolation(field, told),)
        )
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": given}


def _result(turn: Message) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": turn.tool_call_id, "content": turn.text}
