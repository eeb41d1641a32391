"""Response formats to ask for, and answers to them from a backend."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import jsonschema

from llmrouter.common.generation import (
    FinishReason,
    FormatKind,
    ResponseFormat,
    SamplingOptions,
)
from llmrouter.inference.backends.base import BackendFinished, BackendRequest
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend

PROMPT = tuple(b"hello")
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["kind", "tall", "old"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
CHOICE = {
    "type": "object",
    "properties": {
        "answer": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "why": {"$ref": "#/$defs/reason"},
        "at": {"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}$"},
    },
    "required": ["answer", "at"],
    "additionalProperties": False,
    "$defs": {"reason": {"type": "string", "minLength": 3, "maxLength": 12}},
}
COUNT = {"type": "integer", "minimum": -5, "maximum": 5000}
TABLE = {
    "type": "array",
    "minItems": 1,
    "maxItems": 2,
    "items": {
        "type": "array",
        "prefixItems": [COUNT, {"const": "x"}],
        "items": False,
        "minItems": 2,
    },
}
SMALL = {"type": "array", "items": TABLE["items"], "minItems": 1, "maxItems": 1}


def schema(of: object) -> ResponseFormat:
    return ResponseFormat(FormatKind.JSON_SCHEMA, of if isinstance(of, str) else json.dumps(of))


def regex(text: str) -> ResponseFormat:
    return ResponseFormat(FormatKind.REGEX, text)


def grammar(text: str) -> ResponseFormat:
    return ResponseFormat(FormatKind.GRAMMAR, text)


@dataclass
class Answer:
    text: str
    end: BackendFinished

    @property
    def whole(self) -> bool:
        return self.end.reason is FinishReason.STOP


async def answers(
    backend: OnnxRuntimeBackend,
    wanted: ResponseFormat | None,
    prompt: tuple[int, ...] = PROMPT,
    **options: Any,
) -> list[Answer]:
    options = {"temperature": 1.0, "seed": 1, "max_tokens": 100, **options}
    sampling = SamplingOptions(response_format=wanted, **options)
    texts = [""] * sampling.n
    ends: dict[int, BackendFinished] = {}
    async for event in backend.generate(BackendRequest(prompt, sampling)):
        if isinstance(event, BackendFinished):
            ends[event.choice] = event
        else:
            texts[event.choice] += event.text
    return [Answer(text, ends[choice]) for choice, text in enumerate(texts)]


async def answer(backend: OnnxRuntimeBackend, *asked: Any, **options: Any) -> Answer:
    [only] = await answers(backend, *asked, **options)
    return only


def check(told: Answer, of: object) -> bool:
    """Check a whole answer; return whether it was whole."""
    if told.whole:
        jsonschema.validate(json.loads(told.text), of)
    return told.whole
