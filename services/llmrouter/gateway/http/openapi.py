"""The HTTP API described as OpenAPI 3.1, from the fields that its bodies are decoded by.

Bounds that depend on more than one field, or on the settings, stand in no schema: such bodies are
refused with 400, naming the field.
"""

from __future__ import annotations

import functools
from typing import Any

from pydantic.json_schema import models_json_schema
from pydantic_core import to_json

from llmrouter.gateway.callers import REQUEST_ID_KEY
from llmrouter.gateway.http.errors import STATUSES
from llmrouter.gateway.http.fields import ChatBody, CompletionBody, EmbeddingBody
from llmrouter.gateway.http.openapi_answers import ANSWERS, Schema, events, ref

__all__ = ["TIMEOUT_KEY", "body", "document"]

TIMEOUT_KEY = "x-request-timeout"
"""Header under which callers say how many seconds they wait."""
_BODIES = (ChatBody, CompletionBody, EmbeddingBody)
_REFS = "#/components/schemas/{model}"
_HEADERS = [
    {
        "name": REQUEST_ID_KEY,
        "in": "header",
        "description": "Names the request in answers, logs and traces.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,64}$"},
    },
    {
        "name": TIMEOUT_KEY,
        "in": "header",
        "description": "Seconds that the caller waits.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
]


@functools.cache
def body() -> bytes:
    """Return the document as JSON; it never changes."""
    return to_json(document())


def document() -> Schema:
    """Return the document, made anew."""
    _, told = models_json_schema([(one, "validation") for one in _BODIES], ref_template=_REFS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "llmrouter",
            "version": "1",
            "description": "OpenAI's API in front of many models. `model` is `auto`, "
            "`auto:STRATEGY`, or a model's name, `name@version` or alias.",
        },
        "paths": _paths(),
        "components": {
            "schemas": {**told["$defs"], **ANSWERS},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _paths() -> Schema:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    ready: Schema = {"summary": "Say whether requests are welcome.", "security": [{}]}
    ready["responses"] = {"200": _json("Health"), "503": _json("Health")}
    this: Schema = {"summary": "Describe this API.", "security": [{}]}
    this["responses"] = {"200": {"description": "This.", "content": {"application/json": {}}}}
    return {
        "/v1/chat/completions": {
            "post": _asking("Answer a chat.", "ChatBody", "ChatAnswer", "ChatChunk")
        },
        "/v1/completions": {
            "post": _asking(
                "Complete prompts.", "CompletionBody", "CompletionAnswer", "CompletionChunk"
            )
        },
        "/v1/embeddings": {
            "post": _asking("Turn texts into vectors.", "EmbeddingBody", "EmbeddingAnswer")
        },
        "/v1/models": {"get": _endpoint("List the names that `model` may have.", "Models")},
        "/v1/models/{name}": {
            "get": _endpoint("Describe what a request means by `model`.", "Model"),
            "parameters": [name],
        },
        "/health": {"get": ready},
        "/openapi.json": {"get": this},
    }


def _asking(summary: str, body: str, answer: str, chunk: str = "") -> Schema:
    endpoint = _endpoint(summary, answer)
    content = {"application/json": {"schema": ref(body)}}
    endpoint["requestBody"] = {"required": True, "content": content}
    if chunk:
        streamed = {"text/event-stream": {"schema": events(chunk)}}
        endpoint["responses"]["200"]["content"] |= streamed
    return endpoint


def _endpoint(summary: str, answer: str) -> Schema:
    refused = {str(status): _json("Error") for status in STATUSES}
    responses = {"200": _json(answer), **refused}
    return {"summary": summary, "parameters": _HEADERS, "responses": responses}


def _json(name: str) -> dict[str, Any]:
    return {"description": f"{name}.", "content": {"application/json": {"schema": ref(name)}}}
