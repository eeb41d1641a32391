"""Over HTTP callers are known by the same credentials as over gRPC."""

from __future__ import annotations

import openai
import pytest
from openai import AsyncOpenAI
from structlog.testing import capture_logs
from tests.unit.gateway.doubles import answer_events
from tests.unit.gateway.http.conftest import serving

from llmrouter.gateway.identity.principal import Scope


@pytest.fixture
async def guarded():
    async with serving(anonymous="never") as api:
        api.chain.script = answer_events()
        yield api


def client(api, key):
    return AsyncOpenAI(base_url=f"http://{api.address}/v1", api_key=key, max_retries=0, timeout=10)


async def chat(api, key, model="auto", **options):
    async with client(api, key) as asking:
        message = {"role": "user", "content": "hi"}
        return await asking.chat.completions.create(model=model, messages=[message], **options)


async def test_without_a_known_key_every_endpoint_answers_401_in_openais_form(guarded):
    async with client(guarded, "none") as asking:
        for call in (
            lambda: chat(guarded, "none"),
            lambda: chat(guarded, "none", stream=True),
            lambda: asking.completions.create(model="auto", prompt="hi"),
            lambda: asking.embeddings.create(model="auto", input="hi"),
            lambda: asking.models.retrieve("first"),
        ):
            with pytest.raises(openai.AuthenticationError) as refused:
                await call()
            assert refused.value.code == "unauthenticated"
            assert refused.value.response.headers["www-authenticate"] == "Bearer"
    assert guarded.chain.calls == []
    assert {one["reason"] for one in guarded.keys.refusals} == {"UNAUTHENTICATED"}


async def test_a_refused_caller_is_not_even_read_and_leaves_its_line(guarded):
    with capture_logs() as lines, pytest.raises(openai.AuthenticationError):
        await chat(guarded, "none", extra_body={"no such field": 1})
    assert [line["outcome"] for line in lines if line["event"] == "request"] == ["UNAUTHENTICATED"]


async def test_tenant_user_and_models_come_from_the_key(guarded):
    key = guarded.keys.new(tenant="acme", user="ann", models=frozenset({"first"}))
    await chat(guarded, key)
    ((_, context),) = guarded.chain.calls
    assert (context.tenant, context.user, context.models) == ("acme", "ann", {"first"})


async def test_a_key_is_held_to_its_scopes_and_models(guarded):
    key = guarded.keys.new(scopes=frozenset({Scope.GENERATE}), models=frozenset({"first"}))
    with pytest.raises(openai.PermissionDeniedError, match="may not use 'second'"):
        await chat(guarded, key, model="second")
    async with client(guarded, key) as asking:
        with pytest.raises(openai.PermissionDeniedError, match="needs the scope 'embed'"):
            await asking.embeddings.create(model="auto", input="hi")
    assert guarded.chain.calls == []
    assert (await chat(guarded, key, model="first")).choices


async def test_a_key_is_shown_the_models_that_it_may_use(guarded):
    key = guarded.keys.new(models=frozenset({"second"}))
    async with client(guarded, key) as asking:
        assert [model.id async for model in asking.models.list()] == ["auto", "second"]
        with pytest.raises(openai.NotFoundError):
            await asking.models.retrieve("first")


async def test_where_nobody_must_be_known_any_word_will_do_for_a_key(api):
    api.chain.script = answer_events()
    assert (await chat(api, "none")).choices


async def test_health_asks_nobody_who_they_are(guarded):
    async with client(guarded, "none") as asking:
        assert (await asking.get("/../health", cast_to=object)) is not None
