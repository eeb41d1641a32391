"""Anthropic's Messages API (https://docs.anthropic.com/en/api/messages), version 2023-06-01."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from llmrouter.common.capabilities import CHAT, CONTINUATION, TOOLS
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    FinishReason,
    GenerationRequest,
    Role,
    SamplingOptions,
    Usage,
)
from llmrouter.common.tools import ToolCallPiece
from llmrouter.inference.remote.anthropic_tools import tools_body, turn_bodies
from llmrouter.inference.remote.codec import Asked, Reading, unsupported

__all__ = ["AnthropicCodec"]

_VERSION = "2023-06-01"
_MAX_TEMPERATURE = 1.0


class AnthropicCodec:
    """Anthropic's API: chats with one answer each."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What its models can be asked for."""
        return frozenset({CHAT, CONTINUATION, TOOLS})

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of every request."""
        return {"anthropic-version": _VERSION, **({"x-api-key": key} if key else {})}

    def encode(
        self,
        request: GenerationRequest,
        upstream: str,
        max_tokens: int,
        *,
        continued: bool = False,
    ) -> Asked:
        """Return the HTTP request; the turns of the system become one instruction before all."""
        options = request.sampling
        if continued and request.messages[-1].text[-1:].isspace():
            # The API refuses a last turn that ends with a blank.
            told = "continuation.text ends with a blank, after which this provider cannot go on"
            raise RouterError(Reason.UNSUPPORTED_OPTION, told)
        _check(options)
        said = [turn.text for turn in request.messages if turn.role is Role.SYSTEM]
        body: dict[str, Any] = {
            "model": upstream,
            "stream": True,
            "max_tokens": max_tokens,
            "temperature": options.temperature,
            "messages": turn_bodies(
                turn for turn in request.messages if turn.role is not Role.SYSTEM
            ),
        }
        if request.tools is not None:
            body |= tools_body(request.tools)
        if said:
            body["system"] = "\n\n".join(said)
        if options.top_p != 1:
            body["top_p"] = options.top_p
        if options.top_k:
            body["top_k"] = options.top_k
        if options.stop:
            body["stop_sequences"] = list(options.stop)
        return Asked("messages", body)

    def reading(self, request: GenerationRequest) -> Reading:
        """Return what reads the answer."""
        del request
        return _Reading()


def _check(options: SamplingOptions) -> None:
    """Refuse what this API has no word for; the rest is kept away by the capabilities."""
    if options.temperature > _MAX_TEMPERATURE:
        raise unsupported("temperature", options.temperature)
    for name, neutral in (
        ("repetition_penalty", 1), ("presence_penalty", 0), ("frequency_penalty", 0), ("min_p", 0),
        ("min_tokens", 0), ("logit_bias", ()), ("logprobs", False), ("response_format", None),
        ("n", 1),
    ):  # fmt: skip
        if getattr(options, name) != neutral:
            raise unsupported(name, getattr(options, name))
    if options.seed is not None and options.temperature:
        raise unsupported("seed", options.seed)


class _Reading:
    """Reads the events of one answer."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self._calls: dict[int, int] = {}
        """Which call a block of the answer is."""

    def read(self, data: str) -> Iterable[Delta | ChoiceFinished]:
        """Return what one server-sent event brings."""
        event = json.loads(data)
        match event["type"]:
            case "message_start":
                self._count(event["message"].get("usage") or {})
            case "content_block_start" if event["content_block"].get("type") == "tool_use":
                block = event["content_block"]
                call = self._calls.setdefault(event["index"], len(self._calls))
                piece = ToolCallPiece(call, str(block["id"]), str(block["name"]))
                return (Delta(0, "", 1, tool_calls=(piece,)),)
            case "content_block_delta":
                return self._said(event["index"], event["delta"])
            case "message_delta":
                self._count(event.get("usage") or {})
                return _ends(event["delta"])
            case "message_stop":
                self.complete = True
            case "error":
                said = str(event["error"].get("message"))[:300]
                raise RouterError(Reason.GENERATION_FAILED, f"the provider broke off: {said}")
        return ()

    def _said(self, block: int, delta: Mapping[str, Any]) -> tuple[Delta, ...]:
        given = delta.get("partial_json")
        if given and block in self._calls:
            piece = ToolCallPiece(self._calls[block], arguments=str(given))
            return (Delta(0, "", 1, tool_calls=(piece,)),)
        text = delta.get("text")
        return (Delta(0, str(text), 1),) if text else ()

    def _count(self, told: Mapping[str, Any]) -> None:
        """Take counts in; those that come later replace earlier ones."""
        before = self.usage or Usage()
        cached = int(told.get("cache_read_input_tokens") or 0)
        read = told.get("input_tokens")
        prompt = before.prompt_tokens if read is None else int(read) + cached
        self.usage = Usage(
            prompt,
            int(told.get("output_tokens") or before.completion_tokens),
            cached or before.cached_prompt_tokens,
        )


def _ends(delta: Mapping[str, Any]) -> tuple[ChoiceFinished, ...]:
    reason = delta.get("stop_reason")
    if reason is None:
        return ()
    cut = reason in ("max_tokens", "model_context_window_exceeded")
    asks = FinishReason.TOOL_CALLS if reason == "tool_use" else FinishReason.STOP
    ended = FinishReason.LENGTH if cut else asks
    return (ChoiceFinished(0, ended, str(delta.get("stop_sequence") or "")),)
