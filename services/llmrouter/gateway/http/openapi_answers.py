"""What the endpoints answer, as JSON Schema: what `encoding.py` and `errors.py` write.

Tests hold the two together: every answer they see has to match.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ANSWERS", "Schema", "events", "ref"]

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_BOOL: Schema = {"type": "boolean"}


def ref(name: str) -> Schema:
    """Return what stands for a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def events(chunk: str) -> Schema:
    """Return what stands for server-sent events, each with such a chunk; the last is `[DONE]`."""
    data = {**_TEXT, "contentMediaType": "application/json", "contentSchema": ref(chunk)}
    either = {"anyOf": [{"const": "[DONE]"}, data]}
    return {"type": "object", "properties": {"data": either}, "required": ["data"]}


def _object(fields: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": {**fields, **(optional or {})},
        "required": list(fields),
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _word(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


_REASON = _word("stop", "length", "cancelled", "tool_calls")
_CALL = {"id": _TEXT, "type": _word("function")}
_TOOL_CALL = _object({**_CALL, "function": _object({"name": _TEXT, "arguments": _TEXT})})
_CALL_PIECE = _object(
    {"index": _COUNT, "function": _object({"arguments": _TEXT}, {"name": _TEXT})}, _CALL
)
_TOKEN = _object(
    {"token": _TEXT, "logprob": _NUMBER, "bytes": _list({"type": "integer"})},
    {"top_logprobs": _list(ref("Token"))},
)
_CHAT_LOGPROBS = _object({"content": _list(ref("Token")), "refusal": {"type": "null"}})
_TEXT_LOGPROBS = _object(
    {
        "tokens": _list(_TEXT),
        "token_logprobs": _list(_NUMBER),
        "top_logprobs": _list({"type": "object", "additionalProperties": _NUMBER}),
        "text_offset": _list(_COUNT),
    }
)
_DELTA = _object(
    {}, {"role": _word("assistant"), "content": _TEXT, "tool_calls": _list(_CALL_PIECE)}
)
_CHAT_CHOICE = _object(
    {
        "index": _COUNT,
        "message": _object(
            {
                "role": _word("assistant"),
                "content": _or_null(_TEXT),
                "refusal": {"type": "null"},
            },
            {"tool_calls": _list(_TOOL_CALL)},
        ),
        "logprobs": _or_null(_CHAT_LOGPROBS),
        "finish_reason": _REASON,
    }
)
_TEXT_CHOICE = _object(
    {
        "index": _COUNT,
        "text": _TEXT,
        "logprobs": _or_null(_TEXT_LOGPROBS),
        "finish_reason": _REASON,
    }
)
_CHAT_PIECE = _object(
    {
        "index": _COUNT,
        "delta": _DELTA,
        "logprobs": _or_null(_CHAT_LOGPROBS),
        "finish_reason": _or_null(_REASON),
    }
)
_TEXT_PIECE = _object(
    {
        "index": _COUNT,
        "text": _TEXT,
        "logprobs": _or_null(_TEXT_LOGPROBS),
        "finish_reason": _or_null(_REASON),
    }
)
_USAGE = _object(
    {
        "prompt_tokens": _COUNT,
        "completion_tokens": _COUNT,
        "total_tokens": _COUNT,
        "prompt_tokens_details": _object({"cached_tokens": _COUNT}),
    }
)
_ADJUSTMENT = _object({"dropped_messages": _COUNT, "max_tokens": _COUNT, "low_priority": _BOOL})
_ATTEMPT = _object(
    {
        "model": _TEXT,
        "version": _TEXT,
        "seconds": _NUMBER,
        "cost": _NUMBER,
        "confidence": _or_null(_NUMBER),
        "error": _or_null(_TEXT),
        "set_aside": _or_null(_TEXT),
        "adjustment": _or_null(_ADJUSTMENT),
    }
)
_ROUTE = _object(
    {
        "version": _TEXT,
        "reason": _TEXT,
        "cache": _TEXT,
        "cached_in": _or_null(_TEXT),
        "similarity": _or_null(_NUMBER),
        "plan_id": _TEXT,
        "dropped_messages": _COUNT,
        "cost": _NUMBER,
        "attempts": _list(_ATTEMPT),
    }
)


def _head(kind: str, choice: Schema) -> dict[str, Schema]:
    return {
        "id": _TEXT,
        "object": _word(kind),
        "created": _COUNT,
        "model": _TEXT,
        "system_fingerprint": _TEXT,
        "choices": _list(choice),
    }


def _answer(kind: str, choice: Schema) -> Schema:
    return _object({**_head(kind, choice), "usage": ref("Usage"), "llmrouter": ref("Route")})


def _chunk(kind: str, piece: Schema) -> Schema:
    """Return a chunk: what became known with it stands under `llmrouter`."""
    more = {"usage": _or_null(ref("Usage")), "llmrouter": {"type": "object"}}
    return {"anyOf": [_object(_head(kind, piece), more), ref("Error")]}


ANSWERS: Mapping[str, Schema] = {
    "ChatAnswer": _answer("chat.completion", _CHAT_CHOICE),
    "ChatChunk": _chunk("chat.completion.chunk", _CHAT_PIECE),
    "CompletionChunk": _chunk("text_completion", _TEXT_PIECE),
    "CompletionAnswer": _answer("text_completion", _TEXT_CHOICE),
    "EmbeddingAnswer": _object(
        {
            "object": _word("list"),
            "data": _list(
                _object(
                    {
                        "object": _word("embedding"),
                        "index": _COUNT,
                        "embedding": {"anyOf": [_list(_NUMBER), _TEXT]},
                    }
                )
            ),
            "model": _TEXT,
            "usage": _object({"prompt_tokens": _COUNT, "total_tokens": _COUNT}),
        }
    ),
    "Model": _object(
        {
            "id": _TEXT,
            "object": _word("model"),
            "created": _COUNT,
            "owned_by": _TEXT,
            "llmrouter": _object({"version": _TEXT}),
        }
    ),
    "Models": _object({"object": _word("list"), "data": _list(ref("Model"))}),
    "Health": _object({"status": _word("ok", "degraded", "draining")}, {"limits": _TEXT}),
    "Error": _object(
        {
            "error": _object(
                {
                    "message": _TEXT,
                    "type": _TEXT,
                    "param": _or_null(_TEXT),
                    "code": _or_null(_TEXT),
                }
            )
        }
    ),
    "Token": _TOKEN,
    "Usage": _USAGE,
    "Route": _ROUTE,
}
"""By their names in the document."""
