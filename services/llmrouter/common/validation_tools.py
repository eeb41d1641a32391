"""The bounds of tools that stand as comments in the protos."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from llmrouter.common.errors import FieldViolation
from llmrouter.common.generation import GenerationRequest, Message, Role
from llmrouter.common.tools import Tool, ToolChoice, ToolWishes

__all__ = ["tool_turn_violations", "tool_violations"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_TOOLS = 128
_MAX_DESCRIPTION_BYTES = 16 << 10
_MAX_PARAMETERS_BYTES = 64 << 10
_MAX_ID_BYTES = 256
_MAX_NAME_BYTES = 64
_MAX_ARGUMENTS_BYTES = 1 << 20


def tool_violations(request: GenerationRequest) -> list[FieldViolation]:
    """Return what is wrong with the tools of a request."""
    wishes = request.tools
    if wishes is None:
        return []
    if not request.messages:
        return [FieldViolation("tools", "are given beside a raw prompt; give a chat")]
    if request.routing.ensemble is not None:
        told = "are given beside an ensemble, which elects texts; leave one of the two out"
        return [FieldViolation("tools", told)]
    if not 1 <= len(wishes.tools) <= _MAX_TOOLS:
        return [FieldViolation("tools.tools", f"are {len(wishes.tools)}; 1 to {_MAX_TOOLS}")]
    return [*_named(wishes), *(one for place, tool in enumerate(wishes.tools)
                               for one in _tool(f"tools.tools[{place}]", tool))]  # fmt: skip


def tool_turn_violations(path: str, turn: Message) -> Iterator[FieldViolation]:
    """Give what is wrong with the calls of a turn, and with what one answers."""
    if turn.tool_calls and turn.role is not Role.ASSISTANT:
        yield FieldViolation(
            f"{path}.tool_calls", "are given; only the assistant's turns have some"
        )
    if len(turn.tool_calls) > _MAX_TOOLS:
        yield FieldViolation(
            f"{path}.tool_calls", f"are {len(turn.tool_calls)}; at most {_MAX_TOOLS}"
        )
        return
    for place, call in enumerate(turn.tool_calls):
        for name, text, least, most in (
            ("id", call.id, 1, _MAX_ID_BYTES),
            ("name", call.name, 1, _MAX_NAME_BYTES),
            ("arguments", call.arguments, 0, _MAX_ARGUMENTS_BYTES),
        ):
            size = len(text.encode())
            if not least <= size <= most:
                told = f"is {size} bytes; it must be {least} to {most}"
                yield FieldViolation(f"{path}.tool_calls[{place}].{name}", told)
    size = len(turn.tool_call_id.encode())
    if turn.role is Role.TOOL and not 1 <= size <= _MAX_ID_BYTES:
        told = f"is {size} bytes; it must be 1 to {_MAX_ID_BYTES}"
        yield FieldViolation(f"{path}.tool_call_id", told)
    if turn.role is not Role.TOOL and turn.tool_call_id:
        yield FieldViolation(f"{path}.tool_call_id", "is given; only a tool's turn has one")


def _named(wishes: ToolWishes) -> Iterator[FieldViolation]:
    names = [one.name for one in wishes.tools]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        yield FieldViolation("tools.tools", f"have {', '.join(twice[:3])} twice; rename one")
    if wishes.choice is ToolChoice.NAMED and wishes.name not in names:
        yield FieldViolation("tools.name", f"is {wishes.name[:64]!r}, which is none of the tools")
    if wishes.choice is not ToolChoice.NAMED and wishes.name:
        yield FieldViolation(
            "tools.name", f"is given with the choice {wishes.choice}; leave it out"
        )


def _tool(path: str, tool: Tool) -> Iterator[FieldViolation]:
    if not _NAME.fullmatch(tool.name):
        told = f"is {tool.name[:64]!r}; it must be 1 to 64 letters, digits, _ and -"
        yield FieldViolation(f"{path}.name", told)
    size = len(tool.description.encode())
    if size > _MAX_DESCRIPTION_BYTES:
        told = f"is {size} bytes; at most {_MAX_DESCRIPTION_BYTES}"
        yield FieldViolation(f"{path}.description", told)
    size = len(tool.parameters.encode())
    if size > _MAX_PARAMETERS_BYTES:
        told = f"is {size} bytes; at most {_MAX_PARAMETERS_BYTES}"
        yield FieldViolation(f"{path}.parameters", told)
    elif tool.parameters and not _is_object(tool.parameters):
        yield FieldViolation(f"{path}.parameters", "is no JSON object; give a JSON Schema")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
