"""Whatever comes over HTTP is answered as the OpenAPI document says, and is no fault of ours."""

import json
import urllib.request

import pytest
from hypothesis import HealthCheck, seed, settings

schemathesis = pytest.importorskip("schemathesis")

from schemathesis.core.parameters import ParameterLocation  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402 - needs what may be missing
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from tests.integration.fuzzed.messages import INSIDES  # noqa: E402

from llmrouter.gateway.http.openapi import document  # noqa: E402


def no_fault_of_ours(context, response, case):
    """Refuse 500 and what tells of our insides; 503 and 504 are callers' to expect."""
    del context, case
    assert response.status_code != 500
    assert not [inside for inside in INSIDES if inside in response.content]


def bad_bodies_are_refused(context, response, case):
    """Hold bodies alone to it: of other headers than its own HTTP says nothing."""
    body = case.meta.components.get(ParameterLocation.BODY)
    if body is not None and body.mode.is_negative:
        return negative_data_rejection(context, response, case)
    return None


CHECKS = [
    content_type_conformance,
    bad_bodies_are_refused,
    no_fault_of_ours,
    response_schema_conformance,
    status_code_conformance,
]
BOUNDED = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
SCHEMA = schemathesis.openapi.from_dict(document())
IN_BOUNDS = {
    "model": {"enum": ["auto", "auto:balanced", "tiny"]},
    "messages": {"type": "array", "minItems": 1, "maxItems": 3, "items": {
        "type": "object", "required": ["role", "content"], "additionalProperties": False,
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {"type": "string", "pattern": "^[a-h ]{1,8}x$"},
        },
    }},
    "prompt": {"type": "string", "pattern": "^[a-h]{1,8}$"},
    "stream": {"type": "boolean"},
    "max_tokens": {"type": "integer", "minimum": 1, "maximum": 8},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0.1, "maximum": 1},
    "n": {"type": "integer", "minimum": 1, "maximum": 3},
    "seed": {"type": "integer", "minimum": -9, "maximum": 9},
    "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "user": {"type": "string", "maxLength": 300},
    "cache": {"type": "object", "properties": {"mode": {"enum": ["off", "refresh"]}},
              "additionalProperties": False},
    "tools": {"enum": [[], None]},
}  # fmt: skip
"""Fields within their bounds, so that they are answered."""


def in_bounds():
    """Return the document with bodies that are answered."""
    told = document()
    for name in ("ChatBody", "CompletionBody"):
        body = told["components"]["schemas"][name]
        logprobs = {"type": "boolean"}
        if name == "CompletionBody":
            logprobs = {"type": "integer", "minimum": 0, "maximum": 5}
        fields = {**IN_BOUNDS, "logprobs": logprobs}
        body["properties"] = {
            field: shape for field, shape in fields.items() if field in body["properties"]
        }
        body["additionalProperties"] = False
    for path in ("/v1/chat/completions", "/v1/completions"):
        told["paths"][path]["post"]["parameters"] = []
    return told


ANSWERED = schemathesis.openapi.from_dict(in_bounds()).include(path_regex="completions$")
ANSWERED.config.generation.update(modes=[schemathesis.GenerationMode.POSITIVE])


def test_what_is_served_is_what_is_tested(running):
    with urllib.request.urlopen(f"http://{running.http}/openapi.json", timeout=10) as answer:
        assert json.load(answer) == document()


def check(case, running):
    case.call_and_validate(base_url=f"http://{running.http}", checks=CHECKS, timeout=30)


@SCHEMA.parametrize()
@seed(7)
@settings(max_examples=25, **BOUNDED)
def test_no_body_is_a_fault_of_ours(case, running):
    check(case, running)


@ANSWERED.parametrize()
@seed(7)
@settings(max_examples=40, **BOUNDED)
def test_every_body_in_bounds_is_answered_as_the_document_says(case, running):
    answer = case.call(base_url=f"http://{running.http}", timeout=30)
    assert answer.status_code == 200, answer.text
    case.validate_response(answer, checks=CHECKS)
    if case.body.get("stream"):
        assert answer.text.endswith("data: [DONE]\n\n")


@SCHEMA.parametrize()
@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=1000, **BOUNDED)
def test_no_body_is_a_fault_of_ours_however_long_one_looks(case, running):
    check(case, running)
