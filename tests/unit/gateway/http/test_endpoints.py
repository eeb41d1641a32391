"""The other endpoints: completions, embeddings, models, health."""

import json

import openai
import pytest
from tests.unit.gateway.doubles import answer_events, error

from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    Started,
    TokenLogprob,
    TopLogprob,
    Usage,
)


async def complete(api, **options):
    return await api.client.completions.create(**{"model": "first", "prompt": "a", **options})


async def test_a_prompt_is_completed_whole_and_in_chunks(api):
    api.chain.script = answer_events()
    answer = await complete(api)
    assert (answer.object, answer.choices[0].text) == ("text_completion", "Paris")
    chunks = [chunk async for chunk in await complete(api, stream=True)]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Paris"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert api.chain.calls[0][0].prompt == "a"


async def test_several_prompts_are_answered_side_by_side_in_their_places(api):
    api.chain.scripts = {
        "slow": [0.05, *answer_events(text=("s", "low"))],
        "fast": answer_events("second", text=("fast",)),
    }
    asked = {"prompt": ["slow", "fast"], "stream_options": {"include_usage": True}}
    whole = await complete(api, prompt=asked["prompt"])
    assert [(choice.index, choice.text) for choice in whole.choices] == [(0, "slow"), (1, "fast")]
    assert whole.usage.completion_tokens == 3
    texts, usages = {0: "", 1: ""}, []
    async for chunk in await complete(api, **asked, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
        usages += [chunk.usage] if chunk.usage else []
    assert texts == {0: "slow", 1: "fast"}
    assert [usage.completion_tokens for usage in usages] == [3]
    assert len({context.request_id for _, context in api.chain.calls}) == 4


async def test_one_prompt_that_fails_lets_the_others_go(api):
    api.chain.scripts = {"good": [*answer_events()[:2], 60], "bad": [0.05, error(Reason.INTERNAL)]}
    with pytest.raises(openai.InternalServerError, match="INTERNAL"):
        await complete(api, prompt=["good", "bad"])
    assert api.chain.log == ["closed", "closed"]


async def test_log_probabilities_come_in_the_older_form(api):
    tokens = [
        TokenLogprob(1, -0.1, b"ab", (TopLogprob(1, -0.1, b"ab"),)),
        TokenLogprob(2, -2, b"c"),
    ]
    api.chain.script = [
        Started("r", "first", "v1", "because"),
        Delta(0, "abc", 2, tuple(tokens)),
        ChoiceFinished(0, FinishReason.STOP),
        Finished(Usage(1, 2)),
    ]
    told = (await complete(api, logprobs=1)).choices[0].logprobs
    assert (told.tokens, told.text_offset) == (["ab", "c"], [0, 2])
    assert told.token_logprobs == [-0.1, -2]
    assert told.top_logprobs == [{"ab": -0.1}, {}]
    assert api.chain.calls[0][0].sampling.top_logprobs == 1


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_texts_become_vectors(api, encoding):
    answer = await api.client.embeddings.create(
        model="auto", input=["a", "bcd"], encoding_format=encoding
    )
    vectors = [one.embedding for one in answer.data]
    if encoding == "float":
        assert vectors == [[0.5, -1.0, 1.0], [0.5, -1.0, 3.0]]
    assert (answer.model, answer.usage.total_tokens) == ("mini", 6)
    assert api.chain.calls[0][0].model == ""


async def test_the_client_reads_base64_vectors_by_itself(api):
    answer = await api.client.embeddings.create(model="mini", input="a")  # its own default
    assert list(answer.data[0].embedding) == [0.5, -1.0, 1.0]


@pytest.mark.parametrize(
    ("texts", "named"), [("", "input"), ([""], "input"), (["a", ""], "input[1]")]
)
async def test_a_text_that_is_refused_is_named_as_it_was_sent(api, monkeypatch, texts, named):
    async def refuse(request, context):
        raise invalid(f"texts[{len(request.texts) - 1}]", "is empty; it must hold text")

    monkeypatch.setattr(api.chain, "embed", refuse)
    with pytest.raises(openai.BadRequestError) as caught:
        await api.client.embeddings.create(model="auto", input=texts)
    assert caught.value.body["message"] == f"{named} is empty; it must hold text"
    assert caught.value.body["param"] == named


async def test_a_text_that_is_too_long_is_named_as_it_was_sent(api, monkeypatch):
    told = "texts[1] has 9 tokens, mini takes 8; shorten it or set truncate"

    async def refuse(request, context):
        raise RouterError(Reason.CONTEXT_TOO_LONG, told, metadata={"context": "8"})

    monkeypatch.setattr(api.chain, "embed", refuse)
    with pytest.raises(openai.BadRequestError) as caught:
        await api.client.embeddings.create(model="auto", input=["a", "b"])
    assert caught.value.body["message"] == told.replace("texts", "input")
    assert caught.value.body["code"] == "context_length_exceeded"


async def test_the_models_are_listed_and_described(api):
    assert [model.id async for model in api.client.models.list()] == ["auto", "first", "second"]
    assert (await api.client.models.retrieve("second")).llmrouter == {"version": "v2"}
    for name in ("other", "second@v2"):
        told = await api.client.models.retrieve(name)
        assert (told.id, told.llmrouter) == (name, {"version": "v2"})
    for name in ("auto", "auto:balanced"):
        assert (await api.client.models.retrieve(name)).id == name
    for name in ("third", "second@v1", "auto:third"):
        with pytest.raises(openai.NotFoundError, match=f"there is no model '{name}'"):
            await api.client.models.retrieve(name)


async def test_a_user_of_any_length_is_a_conversation_of_its_own(api):
    api.chain.script = answer_events()
    for user in ("u" * 128, "u" * 129, "u" * 130):
        await complete(api, user=user)
    sessions = [call[0].routing.session for call in api.chain.calls]
    assert sessions[0] == "u" * 128
    assert len(set(sessions)) == 3
    assert all(len(one) <= 128 for one in sessions)


async def test_while_it_drains_new_requests_are_sent_to_another_replica(api):
    api.gate.closed = True
    with pytest.raises(openai.InternalServerError) as caught:
        await complete(api)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-should-retry"] == "true"
    assert caught.value.response.headers["retry-after"] == "1"


async def test_what_is_no_endpoint_is_told_in_the_same_form(api):
    with pytest.raises(openai.NotFoundError) as caught:
        await api.client.post("/nowhere", cast_to=object)
    assert json.loads(caught.value.response.text)["error"]["type"] == "invalid_request_error"
    assert "/v1/nowhere is no endpoint" in str(caught.value)
    with pytest.raises(openai.APIStatusError, match="does not take GET; it takes POST") as caught:
        await api.client.get("/chat/completions", cast_to=object)
    assert caught.value.status_code == 405
