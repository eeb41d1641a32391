"""OpenAI's chat completions and completions, as most providers and servers speak them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic_core import from_json

from llmrouter.common.capabilities import CHAT, COMPLETION, CONTINUATION, STRUCTURED_OUTPUT, TOOLS
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    FinishReason,
    FormatKind,
    GenerationRequest,
    ResponseFormat,
    SamplingOptions,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from llmrouter.inference.remote.codec import Asked, Reading, unsupported
from llmrouter.inference.remote.openai_tools import call_pieces, tools_body, turn_body

__all__ = ["OpenAiCodec"]

_DONE = "[DONE]"
_ALWAYS = frozenset({CHAT, COMPLETION, TOOLS, "n", "seed", "logprobs", "logit_bias", "penalties"})
_EXTENSIONS: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "vllm": {
        "top_k": "top_k",
        "min_p": "min_p",
        "min_tokens": "min_tokens",
        "repetition_penalty": "repetition_penalty",
    },
    "llamacpp": {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"},
}
"""Fields beyond OpenAI's, and what each server calls them."""
_CONTINUING: Mapping[str, Mapping[str, Any]] = {
    "vllm": {"continue_final_message": True, "add_generation_prompt": False},
    "llamacpp": {},
}
"""What servers that can go on with a last turn of the assistant's want to be told so; OpenAI's own
API begins a new turn."""
_NEUTRAL = {"top_k": 0, "min_p": 0, "min_tokens": 0, "repetition_penalty": 1}
_INT64 = 1 << 63
_REASONS = {"length": FinishReason.LENGTH, "tool_calls": FinishReason.TOOL_CALLS}


class OpenAiCodec:
    """OpenAI's API.

    Args:
        extensions: `none`, or the server whose further fields may be used.
        max_tokens_field: Name of the bound on an answer's tokens in chats.
    """

    def __init__(self, extensions: str = "none", max_tokens_field: str = "max_tokens") -> None:
        self._extensions = _EXTENSIONS[extensions]
        self._grammars = extensions == "vllm"
        self._continues = extensions in _CONTINUING
        self._continuing = _CONTINUING.get(extensions, {})
        self._max_tokens_field = max_tokens_field

    @property
    def capabilities(self) -> frozenset[str]:
        """What its models can be asked for."""
        further = {"min_p", "min_tokens"} & set(self._extensions)
        able = {STRUCTURED_OUTPUT, CONTINUATION} if self._continues else {STRUCTURED_OUTPUT}
        return _ALWAYS | able | further

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of every request."""
        return {"authorization": f"Bearer {key}"} if key else {}

    def encode(
        self,
        request: GenerationRequest,
        upstream: str,
        max_tokens: int,
        *,
        continued: bool = False,
    ) -> Asked:
        """Return the HTTP request."""
        options = request.sampling
        body = {
            "model": upstream,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": options.temperature,
            "top_p": options.top_p,
            **self._extended(options),
            **_further(options),
        }
        if options.response_format is not None:
            body |= self._format(options.response_format)
        if not request.messages:
            body |= {"prompt": request.prompt, "max_tokens": max_tokens}
            if options.logprobs:
                body["logprobs"] = options.top_logprobs
            return Asked("completions", body)
        body["messages"] = [turn_body(turn) for turn in request.messages]
        if request.tools is not None:
            body |= tools_body(request.tools)
        body[self._max_tokens_field] = max_tokens
        if continued:
            body |= self._continuing
        if options.logprobs:
            body |= {"logprobs": True, "top_logprobs": options.top_logprobs}
        return Asked("chat/completions", body)

    def reading(self, request: GenerationRequest) -> Reading:
        """Return what reads the answer."""
        return _Reading(chat=bool(request.messages))

    def _extended(self, options: SamplingOptions) -> dict[str, Any]:
        body: dict[str, Any] = {}
        for name, neutral in _NEUTRAL.items():
            value = getattr(options, name)
            if value == neutral:
                continue
            if name not in self._extensions:
                raise unsupported(name, value)
            body[self._extensions[name]] = value
        return body

    def _format(self, wanted: ResponseFormat) -> dict[str, Any]:
        match wanted.kind:
            case FormatKind.JSON_OBJECT:
                return {"response_format": {"type": "json_object"}}
            case FormatKind.JSON_SCHEMA:
                try:
                    schema = json.loads(wanted.text)
                except ValueError:
                    raise unsupported("response_format.json_schema", "no JSON") from None
                told = {"name": "answer", "schema": schema, "strict": True}
                return {"response_format": {"type": "json_schema", "json_schema": told}}
        if not self._grammars:
            raise unsupported("response_format", wanted.kind.value)
        return {f"guided_{wanted.kind.value}": wanted.text}


def _further(options: SamplingOptions) -> dict[str, Any]:
    """Return OpenAI's own fields, where they ask for anything."""
    body: dict[str, Any] = {}
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(options, name):
            body[name] = getattr(options, name)
    if options.n > 1:
        body["n"] = options.n
    if options.stop:
        body["stop"] = list(options.stop)
    if options.seed is not None:  # 64 bits there too, but with a sign
        body["seed"] = options.seed - (options.seed >= _INT64) * 2 * _INT64
    if options.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in options.logit_bias}
    return body


class _Reading:
    """Reads the chunks of one answer."""

    def __init__(self, *, chat: bool) -> None:
        self.usage: Usage | None = None
        self.complete = False
        self._chat = chat

    def read(self, data: str) -> Iterable[Delta | ChoiceFinished]:
        """Return what one server-sent event brings."""
        if data == _DONE:
            self.complete = True
            return ()
        chunk = from_json(data)
        if "error" in chunk:
            raise _failure(chunk["error"])
        if chunk.get("usage"):
            self.usage = _usage(chunk["usage"])
        return self._choices(chunk.get("choices") or ())

    def _choices(self, choices: Iterable[Mapping[str, Any]]) -> list[Delta | ChoiceFinished]:
        found: list[Delta | ChoiceFinished] = []
        for choice in choices:
            index, told, asked = int(choice["index"]), choice.get("logprobs"), None
            if self._chat:
                delta = choice["delta"]
                said, asked = delta.get("content"), delta.get("tool_calls")
            else:
                said = choice["text"]
            calls = call_pieces(asked) if asked else ()
            logprobs = tuple(self._logprobs(told)) if told else ()
            if said or logprobs or calls:
                tokens = max(1, len(logprobs))
                found.append(Delta(index, str(said or ""), tokens, logprobs, tool_calls=calls))
            reason = choice.get("finish_reason")
            if reason:
                found.append(ChoiceFinished(index, _REASONS.get(reason, FinishReason.STOP)))
        return found

    def _logprobs(self, told: Mapping[str, Any]) -> Iterator[TokenLogprob]:
        if self._chat:
            for one in told.get("content") or ():
                top = tuple(
                    TopLogprob(0, float(each["logprob"]), _bytes(each))
                    for each in one.get("top_logprobs") or ()
                )
                yield TokenLogprob(0, float(one["logprob"]), _bytes(one), top)
            return
        values = told.get("token_logprobs") or ()
        tops = told.get("top_logprobs") or [{}] * len(values)
        for token, value, others in zip(told.get("tokens") or (), values, tops, strict=True):
            top = tuple(TopLogprob(0, float(p), t.encode()) for t, p in (others or {}).items())
            yield TokenLogprob(0, float(value or 0.0), str(token).encode(), top)


def _bytes(token: Mapping[str, Any]) -> bytes:
    told = token.get("bytes")
    return bytes(told) if told is not None else str(token["token"]).encode()


def _usage(told: Mapping[str, Any]) -> Usage:
    cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(int(told["prompt_tokens"]), int(told.get("completion_tokens") or 0), int(cached))


def _failure(told: object) -> RouterError:
    said = told.get("message") if isinstance(told, Mapping) else told
    return RouterError(Reason.GENERATION_FAILED, f"the provider broke off: {str(said)[:300]}")
