"""Events to bodies: whole answers and the chunks of streams, in OpenAI's forms.

What OpenAI's API has no place for stands under `llmrouter`: the version, why this model was chosen,
what the cache did, and which models were tried.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from llmrouter.common.continuation import Switched
from llmrouter.common.embedding import EmbeddingResult
from llmrouter.common.generation import (
    Attempt,
    ChoiceFinished,
    Delta,
    Finished,
    GenerationEvent,
    Started,
    TokenLogprob,
    Usage,
)
from llmrouter.common.tools import ToolCallPiece
from llmrouter.gateway.answers import Choice

__all__ = ["ChatForm", "CompletionForm", "Form", "embedding_body", "usage_body"]


class Form(Protocol):
    """How one endpoint writes an answer."""

    def whole(
        self, started: Started, choices: Iterable[Choice], finished: Finished
    ) -> dict[str, Any]:
        """Return the body of a whole answer."""
        ...

    def chunks(self, event: GenerationEvent) -> Iterator[dict[str, Any]]:
        """Give the chunks that an event of a stream becomes."""
        ...


class _Envelope:
    """What all bodies of one answer share.

    Args:
        identity: The answer's id.
        kinds: The `object` of a whole answer and of a chunk.
        include_usage: Whether a stream ends with a chunk that counts the tokens.
    """

    def __init__(self, identity: str, kinds: tuple[str, str], *, include_usage: bool) -> None:
        self._identity, self._kinds, self._include_usage = identity, kinds, include_usage
        self._created = int(time.time())
        self._shared: dict[str, Any] = {}

    def start(self, started: Started, kind: int) -> dict[str, Any]:
        """Return the first fields, which are the same in every body."""
        self._shared = {
            "id": self._identity,
            "object": self._kinds[kind],
            "created": self._created,
            "model": started.model,
            "system_fingerprint": started.version,
        }
        return self._shared

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Return a chunk; with usage asked for, those before the last say null, as OpenAI's do."""
        usage = {"usage": None} if self._include_usage else {}
        return {**self._shared, "choices": choices, **usage, **more}

    def end(self, finished: Finished) -> Iterator[dict[str, Any]]:
        """Give the chunk that counts, where it is wanted."""
        if self._include_usage:
            yield self.chunk([], usage=usage_body(finished.usage), llmrouter=_spent(finished))


class ChatForm:
    """`chat.completion` and `chat.completion.chunk`."""

    def __init__(self, request_id: str, *, include_usage: bool = False) -> None:
        kinds = ("chat.completion", "chat.completion.chunk")
        self._envelope = _Envelope(f"chatcmpl-{request_id}", kinds, include_usage=include_usage)
        self._begun: set[int] = set()

    def whole(
        self, started: Started, choices: Iterable[Choice], finished: Finished
    ) -> dict[str, Any]:
        """Return the body of a whole answer."""
        told = [
            {
                "index": index,
                "message": _message(choice),
                "logprobs": _chat_logprobs(choice.logprobs),
                "finish_reason": choice.reason.value,
            }
            for index, choice in enumerate(choices)
        ]
        return _whole(self._envelope, started, told, finished)

    def chunks(self, event: GenerationEvent) -> Iterator[dict[str, Any]]:
        """Give the chunks that an event of a stream becomes."""
        match event:
            case Started():
                self._envelope.start(event, 1)
                self._begun.add(0)
                yield self._envelope.chunk([_turn(0)], llmrouter=_why(event))
            case Delta(choice, text, _, logprobs):
                if choice not in self._begun:  # Every choice begins with its role.
                    self._begun.add(choice)
                    yield self._envelope.chunk([_turn(choice)])
                said: dict[str, Any] = {"content": text} if text or not event.tool_calls else {}
                if event.tool_calls:
                    said["tool_calls"] = [_call_piece(one) for one in event.tool_calls]
                yield self._envelope.chunk([_piece(choice, said, _chat_logprobs(logprobs))])
            case ChoiceFinished(choice, reason):
                yield self._envelope.chunk([_piece(choice, {}, None, reason.value)])
            case Switched():
                told = [_piece(0, {}, None)]
                yield self._envelope.chunk(told, llmrouter={"switched": asdict(event)})
            case Finished():
                yield from self._envelope.end(event)


class CompletionForm:
    """`text_completion`, whole and in chunks; `first` numbers the first choice of this prompt."""

    def __init__(self, request_id: str, *, first: int = 0, include_usage: bool = False) -> None:
        kinds = ("text_completion", "text_completion")
        self._envelope = _Envelope(f"cmpl-{request_id}", kinds, include_usage=include_usage)
        self._first = first
        self._offsets: dict[int, int] = {}

    def whole(
        self, started: Started, choices: Iterable[Choice], finished: Finished
    ) -> dict[str, Any]:
        """Return the body of a whole answer."""
        told = [
            self._choice(index, choice.text, choice.logprobs, choice.reason.value)
            for index, choice in enumerate(choices)
        ]
        return _whole(self._envelope, started, told, finished)

    def chunks(self, event: GenerationEvent) -> Iterator[dict[str, Any]]:
        """Give the chunks that an event of a stream becomes."""
        match event:
            case Started():
                self._envelope.start(event, 1)
                yield self._envelope.chunk([self._choice(0, "", (), None)], llmrouter=_why(event))
            case Delta(choice, text, _, logprobs):
                yield self._envelope.chunk([self._choice(choice, text, logprobs, None)])
            case ChoiceFinished(choice, reason):
                yield self._envelope.chunk([self._choice(choice, "", (), reason.value)])
            case Switched():
                told = [self._choice(0, "", (), None)]
                yield self._envelope.chunk(told, llmrouter={"switched": asdict(event)})
            case Finished():
                yield from self._envelope.end(event)

    def _choice(
        self, index: int, text: str, logprobs: tuple[TokenLogprob, ...], reason: str | None
    ) -> dict[str, Any]:
        begin = self._offsets.get(index, 0)
        self._offsets[index] = begin + len(text)
        return {
            "index": self._first + index,
            "text": text,
            "logprobs": _text_logprobs(logprobs, begin),
            "finish_reason": reason,
        }


def embedding_body(result: EmbeddingResult, encoding: str) -> dict[str, Any]:
    """Return vectors as lists of numbers, or as base64 of little-endian float32."""
    write: Callable[[Iterable[float]], Any] = _base64 if encoding == "base64" else list
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": write(vector.values)}
            for index, vector in enumerate(result.vectors)
        ],
        "model": result.model,
        "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
    }


def usage_body(usage: Usage) -> dict[str, Any]:
    """Return counted tokens."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_prompt_tokens},
    }


def _whole(
    envelope: _Envelope, started: Started, choices: list[dict[str, Any]], finished: Finished
) -> dict[str, Any]:
    return {
        **envelope.start(started, 0),
        "choices": choices,
        "usage": usage_body(finished.usage),
        "llmrouter": {**_why(started), **_spent(finished)},
    }


def _why(started: Started) -> dict[str, Any]:
    return {
        "version": started.version,
        "reason": started.reason,
        "cache": started.cache.value,
        "cached_in": started.cached.value if started.cached is not None else None,
        "similarity": started.similarity or None,
        "plan_id": started.plan_id,
        "dropped_messages": started.dropped_messages,
    }


def _spent(finished: Finished) -> dict[str, Any]:
    return {"cost": finished.cost, "attempts": _attempts(finished.attempts)}


def _attempts(attempts: tuple[Attempt, ...]) -> list[dict[str, Any]]:
    return [
        {
            "model": one.model,
            "version": one.version,
            "seconds": round(one.duration, 6),
            "cost": one.cost,
            "confidence": one.confidence,
            "error": one.error_reason or None,
            "set_aside": one.set_aside or None,
            "adjustment": None if one.adjustment is None else asdict(one.adjustment),
        }
        for one in attempts
    ]


def _message(choice: Choice) -> dict[str, Any]:
    said: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None}
    if choice.tool_calls:
        said["content"] = choice.text or None
        said["tool_calls"] = [
            {
                "id": one.id,
                "type": "function",
                "function": {"name": one.name, "arguments": one.arguments},
            }
            for one in choice.tool_calls
        ]
    return said


def _call_piece(piece: ToolCallPiece) -> dict[str, Any]:
    """Return new text of a call; its id and its name stand in the first piece alone."""
    function = {"name": piece.name} if piece.name else {}
    head = {"id": piece.id, "type": "function"} if piece.id else {}
    return {"index": piece.index, **head, "function": {**function, "arguments": piece.arguments}}


def _turn(choice: int) -> dict[str, Any]:
    return _piece(choice, {"role": "assistant", "content": ""}, None)


def _piece(
    choice: int, delta: dict[str, Any], logprobs: dict[str, Any] | None, reason: str | None = None
) -> dict[str, Any]:
    return {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


def _chat_logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    if not logprobs:
        return None
    told = [
        {
            **_token(one.bytes, one.logprob),
            "top_logprobs": [_token(top.bytes, top.logprob) for top in one.top],
        }
        for one in logprobs
    ]
    return {"content": told, "refusal": None}


def _token(said: bytes, logprob: float) -> dict[str, Any]:
    return {"token": _shown(said), "logprob": logprob, "bytes": list(said)}


def _text_logprobs(logprobs: tuple[TokenLogprob, ...], begin: int) -> dict[str, Any] | None:
    if not logprobs:
        return None
    tokens = [_shown(one.bytes) for one in logprobs]
    offsets = [begin]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token))
    return {
        "tokens": tokens,
        "token_logprobs": [one.logprob for one in logprobs],
        "top_logprobs": [{_shown(top.bytes): top.logprob for top in one.top} for one in logprobs],
        "text_offset": offsets,
    }


def _shown(said: bytes) -> str:
    """Return a token as text; the bytes of a character that is cut become a sign for it."""
    return said.decode(errors="replace")


def _base64(values: Iterable[float]) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()
