"""The document that describes the API: whole, and of the API that there is."""

import json

from openai import AsyncOpenAI
from openapi_spec_validator import validate

from llmrouter.common.errors import RULES
from llmrouter.gateway.http.fields import ChatBody, CompletionBody, EmbeddingBody
from llmrouter.gateway.http.openapi import document


def test_it_is_a_document_of_openapi():
    validate(document())


async def test_it_has_every_endpoint_and_no_other(api):
    answer = await AsyncOpenAI(base_url=f"http://{api.address}", api_key="none").get(
        "/openapi.json", cast_to=object
    )
    told = json.loads(json.dumps(document()))
    assert answer == told
    routes = {(route.path.replace(":path", ""), *route.methods - {"HEAD"}) for route in api.routes}
    described = {
        (path, method.upper())
        for path, methods in told["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert described <= routes
    # Pages for people are no part of it.
    assert {one for one in routes if one[0].startswith("/v1/")} <= described


def test_it_has_every_field_of_every_body():
    schemas = document()["components"]["schemas"]
    for body in (ChatBody, CompletionBody, EmbeddingBody):
        assert body.model_fields.keys() <= schemas[body.__name__]["properties"].keys()


def test_it_has_every_status_that_a_refusal_can_have():
    asking = document()["paths"]["/v1/chat/completions"]["post"]["responses"]
    # Besides an answer, and a body that is too large for HTTP alone.
    assert len(asking.keys() - {"200", "413"}) == len({rule.status for rule in RULES.values()})
