"""Models of a provider that speaks OpenAI's API."""

import asyncio
import contextlib
import json
import time

import pytest
from tests.unit.inference.remote.fake_provider import ANSWER, USAGE, chunk, events, providing

from llmrouter.common.capabilities import CONTINUATION
from llmrouter.common.continuation import Continuation
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    FormatKind,
    GenerationRequest,
    Message,
    RequestContext,
    ResponseFormat,
    Role,
    SamplingOptions,
    Started,
    TokenLogprob,
    TopLogprob,
)
from llmrouter.inference.remote.models import open_providers
from llmrouter.inference.remote.settings import ProviderSettings, RemoteModelSettings

REGEX = ResponseFormat(FormatKind.REGEX, "a+")
KEY = "sk-planted-secret"
CHAT = (Message(Role.SYSTEM, ("Be brief.",)), Message(Role.USER, ("Wh", "o?")))


class Remote:
    def __init__(self, fake, models):
        self.fake, self.models = fake, models

    async def ask(self, request=None, *, seconds=10.0, begun=None, **sampling):
        request = request or GenerationRequest(CHAT, sampling=SamplingOptions(**sampling))
        context = RequestContext("r-1", deadline=time.monotonic() + seconds)
        stream = self.models.generate("large", "", request, context, 50, begun)
        async with contextlib.aclosing(stream) as found:
            return [event async for event in found]

    async def refused(self, *args, **options):
        with pytest.raises(RouterError) as caught:
            await self.ask(*args, **options)
        assert KEY not in str(caught.value) + str(caught.value.metadata)
        return caught.value


@contextlib.asynccontextmanager
async def remote_models(**settings):
    async with providing() as fake:
        model = RemoteModelSettings(name="large", upstream="large-2026")
        provider = ProviderSettings(
            **{"name": "acme", "base_url": fake.base_url, "api_key_variable": "ACME_KEY",
               "models": (model,), **settings}
        )  # fmt: skip
        models = open_providers([provider], {"ACME_KEY": f"{KEY}\n"}.get)
        try:
            yield Remote(fake, models)
        finally:
            await models.close()


@pytest.fixture
async def remote():
    async with remote_models() as running:
        running.fake.script = [ANSWER]
        yield running


async def test_an_answer_is_streamed_with_the_usage_that_the_provider_counts(remote):
    started, delta, end, finished = await remote.ask()
    assert isinstance(started, Started)
    assert started.version.startswith("remote-")
    assert (delta.text, delta.tokens) == ("Paris", 2)  # two that came at once
    assert end == ChoiceFinished(0, FinishReason.STOP)
    assert (finished.usage.prompt_tokens, finished.usage.completion_tokens) == (7, 2)
    assert 0 < finished.timings.time_to_first_token <= finished.timings.total


async def test_every_option_is_put_into_the_providers_words(remote):
    form = ResponseFormat(FormatKind.JSON_SCHEMA, '{"type": "object"}')
    await remote.ask(
        temperature=0.5, top_p=0.9, seed=(1 << 64) - 1, max_tokens=9, stop=("END",), n=1,
        presence_penalty=0.1, frequency_penalty=0.2, logit_bias=((5, 1.5),), logprobs=True,
        top_logprobs=2, response_format=form,
    )  # fmt: skip
    [(path, headers, body)] = remote.fake.asked
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert body == {
        "model": "large-2026", "stream": True, "stream_options": {"include_usage": True},
        "temperature": 0.5, "top_p": 0.9, "seed": -1, "max_tokens": 9, "stop": ["END"],
        "presence_penalty": 0.1, "frequency_penalty": 0.2, "logit_bias": {"5": 1.5},
        "logprobs": True, "top_logprobs": 2,
        "response_format": {"type": "json_schema", "json_schema": schema},
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}
        ],
    }  # fmt: skip


async def test_a_raw_prompt_goes_to_the_older_endpoint(remote):
    piece = {"choices": [{"index": 0, "text": "b", "finish_reason": "length"}]}
    remote.fake.script = [events(piece, USAGE, "[DONE]")]
    _, delta, end, _ = await remote.ask(GenerationRequest(prompt="a"))
    assert (delta.text, end.reason) == ("b", FinishReason.LENGTH)
    path, _, body = remote.fake.asked[0]
    assert (path, body["prompt"], body["max_tokens"]) == ("/v1/completions", "a", 50)


BEGUN = Continuation("He is", (1, 2), 3)


async def test_a_raw_prompt_is_gone_on_with_behind_what_was_answered(remote):
    piece = {"choices": [{"index": 0, "text": "b", "finish_reason": "length"}]}
    remote.fake.script = [events(piece, USAGE, "[DONE]")]
    await remote.ask(GenerationRequest(prompt="Who? "), begun=BEGUN)
    body = remote.fake.asked[0][2]
    assert (body["prompt"], body["max_tokens"]) == ("Who? He is", 47)


@pytest.mark.parametrize(
    ("extensions", "sent"),
    [("vllm", {"continue_final_message": True, "add_generation_prompt": False}), ("llamacpp", {})],
)
async def test_servers_that_can_are_asked_to_go_on_with_the_last_turn(extensions, sent):
    async with remote_models(extensions=extensions) as remote:
        remote.fake.script = [ANSWER]
        await remote.ask(begun=BEGUN)
        body = remote.fake.asked[0][2]
    assert body["messages"][-1] == {"role": "assistant", "content": "He is"}
    assert sent.items() <= body.items()


@pytest.mark.parametrize(
    ("without", "asked"), [("logprobs", {"logprobs": True}), ("n", {"n": 2, "seed": 1})]
)
async def test_what_its_settings_say_that_a_model_cannot_do_is_refused(without, asked):
    model = RemoteModelSettings(name="large", without=(without,))
    async with remote_models(models=(model,)) as remote:
        refused = await remote.refused(**asked)
        assert not remote.fake.asked
    assert refused.reason is Reason.UNSUPPORTED_OPTION
    assert f"without {without}" in refused.message


async def test_an_api_without_a_word_for_it_goes_on_with_nothing(remote):
    assert (await remote.refused(begun=BEGUN)).reason is Reason.UNSUPPORTED_OPTION
    assert not remote.fake.asked
    [model] = remote.models
    assert CONTINUATION not in model.capabilities


async def test_an_answer_that_has_all_its_tokens_is_not_gone_on_with(remote):
    prompt = GenerationRequest(prompt="a", sampling=SamplingOptions(max_tokens=3))
    _, end, _ = await remote.ask(prompt, begun=BEGUN)
    assert end == ChoiceFinished(0, FinishReason.LENGTH)
    assert not remote.fake.asked


@pytest.mark.parametrize(
    ("extensions", "sampling", "sent"),
    [
        ("vllm", {"top_k": 4, "min_tokens": 2}, {"top_k": 4, "min_tokens": 2}),
        ("llamacpp", {"repetition_penalty": 1.5}, {"repeat_penalty": 1.5}),
        ("vllm", {"response_format": REGEX}, {"guided_regex": "a+"}),
    ],
)  # fmt: skip
async def test_servers_with_further_fields_are_sent_them(extensions, sampling, sent):
    async with remote_models(extensions=extensions) as remote:
        remote.fake.script = [ANSWER]
        await remote.ask(**sampling)
        body = remote.fake.asked[0][2]
    assert {name: body[name] for name in sent} == sent


@pytest.mark.parametrize(
    "sampling", [{"top_k": 4}, {"min_p": 0.1}, {"repetition_penalty": 2.0}, {"min_tokens": 3}]
)
async def test_what_the_api_has_no_word_for_is_refused_and_not_sent(remote, sampling):
    error = await remote.refused(**sampling)
    assert error.reason is Reason.UNSUPPORTED_OPTION
    assert error.violations[0].field == f"sampling.{next(iter(sampling))}"
    assert remote.fake.asked == []


async def test_several_answers_and_their_log_probabilities_keep_their_places(remote):
    top = [{"token": "c", "logprob": -1.5, "bytes": None}]
    told = {"content": [{"token": "b", "logprob": -0.5, "bytes": [98], "top_logprobs": top}]}
    remote.fake.script = [
        events(chunk("b", index=1, logprobs=told), chunk("a"), chunk(reason="stop")),
        events(chunk(index=1, reason="length"), USAGE, "[DONE]"),
    ]
    found = await remote.ask(n=2, logprobs=True, top_logprobs=1)
    logprob = TokenLogprob(0, -0.5, b"b", (TopLogprob(0, -1.5, b"c"),))
    assert found[1:3] == [Delta(1, "b", 1, (logprob,)), Delta(0, "a", 1)]
    assert {event.choice for event in found if isinstance(event, ChoiceFinished)} == {0, 1}


async def test_characters_and_events_may_be_cut_anywhere(remote):
    whole = ANSWER.replace(b"Par", "P\N{LATIN SMALL LETTER A WITH GRAVE}r".encode())
    remote.fake.script = [step for byte in whole for step in (bytes([byte]),)]
    text = "".join(event.text for event in await remote.ask() if isinstance(event, Delta))
    assert text == "P\N{LATIN SMALL LETTER A WITH GRAVE}ris"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": {"message": "bad", "code": "x"}}, Reason.UNSUPPORTED_OPTION),
        (400, {"error": {"code": "context_length_exceeded"}}, Reason.CONTEXT_TOO_LONG),
        (401, {"error": {"message": f"wrong key {KEY}"}}, Reason.MODEL_UNAVAILABLE),
        (404, {"error": {"message": "no such model"}}, Reason.MODEL_UNAVAILABLE),
        (500, {}, Reason.UPSTREAM_UNAVAILABLE),
        (302, {}, Reason.UPSTREAM_UNAVAILABLE),
        (503, {"error": f"busy {KEY}"}, Reason.UPSTREAM_UNAVAILABLE),
    ],
)  # fmt: skip
async def test_a_refusal_says_whether_another_model_may_answer(remote, status, body, reason):
    remote.fake.script = [{"status": status, "text": json.dumps(body)}]
    error = await remote.refused()
    assert error.reason is reason
    assert error.metadata["http_status"] == str(status)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_provider_that_wants_a_key_is_told_from_one_that_refuses_ours(remote, status):
    remote.fake.script = [{"status": status, "text": "{}"}]
    assert (await remote.refused()).message == "acme refuses our key"
    async with remote_models(api_key_variable="") as keyless:
        keyless.fake.script = [{"status": status, "text": "{}"}]
        told = (await keyless.refused()).message
    assert "is configured: api_key_variable or api_key_file" in told
    assert "our key" not in told


async def test_a_provider_that_has_no_room_is_left_alone_as_long_as_it_asks(remote):
    remote.fake.script = [{"status": 429, "headers": {"retry-after": "30"}}]
    first = await remote.refused()
    second = await remote.refused()
    assert first.reason is second.reason is Reason.QUEUE_FULL
    assert (first.retry_after, 29 < second.retry_after <= 30) == (30, True)
    assert len(remote.fake.asked) == 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([events(chunk("Par"))], Reason.UPSTREAM_UNAVAILABLE),
        ([ANSWER[:40]], Reason.UPSTREAM_UNAVAILABLE),
        ([events("nonsense")], Reason.GENERATION_FAILED),
        ([events("[]")], Reason.GENERATION_FAILED),
        ([events({"choices": [{"index": "x"}]})], Reason.GENERATION_FAILED),
        ([events({"error": {"message": "overloaded"}})], Reason.GENERATION_FAILED),
        ([b"data: " + b"x" * (5 << 20)], Reason.GENERATION_FAILED),
        ([{"status": 200, "text": "{}"}], Reason.GENERATION_FAILED),
    ],
)
async def test_what_is_no_whole_answer_is_an_error(remote, script, reason):
    remote.fake.script = script
    assert (await remote.refused()).reason is reason


async def test_a_provider_that_is_not_there_or_hangs_is_told_so():
    async with remote_models(first_byte_seconds=0.1, silence_seconds=0.1) as remote:
        for script in ([60], [events(chunk("Par")), 60]):
            remote.fake.script = script
            assert (await remote.refused()).reason is Reason.UPSTREAM_UNAVAILABLE
    async with remote_models(base_url="http://127.0.0.1:1/v1") as remote:
        assert (await remote.refused()).reason is Reason.UPSTREAM_UNAVAILABLE


async def test_leaving_an_answer_ends_it_at_the_provider(remote):
    remote.fake.script = [events(chunk("Par")), 60]
    context = RequestContext("r-1", deadline=time.monotonic() + 10)
    stream = remote.models.generate("large", "", GenerationRequest(CHAT), context, 50)
    async with contextlib.aclosing(stream) as found:
        async for event in found:
            if isinstance(event, Delta):
                break
    async with asyncio.timeout(10):
        while remote.fake.at_once:  # noqa: ASYNC110 - what is waited for is another's state
            await asyncio.sleep(0.01)
    [model] = remote.models
    assert model.statistics().running == 0


async def test_turns_are_bounded_and_so_is_waiting_for_them():
    async with remote_models(max_concurrent=2, max_waiting=3) as remote:
        remote.fake.script = [0.1, ANSWER]
        asking = [asyncio.ensure_future(remote.ask()) for _ in range(5)]
        await asyncio.sleep(0.02)
        assert (await remote.refused()).reason is Reason.QUEUE_FULL
        assert all(isinstance(one[-1], Finished) for one in await asyncio.gather(*asking))
        assert remote.fake.most_at_once == 2


async def test_a_deadline_ends_the_waiting():
    async with remote_models(max_concurrent=1) as remote:
        remote.fake.script = [events(chunk("Par")), 0.3, ANSWER]
        first = asyncio.ensure_future(remote.ask())
        await asyncio.sleep(0.05)
        assert (await remote.refused(seconds=0.05)).reason is Reason.DEADLINE_EXCEEDED
        await first


@pytest.mark.parametrize("version", ["v1", "remote-0"])
async def test_another_version_than_its_own_is_unknown(remote, version):
    context = RequestContext("r")
    stream = remote.models.generate("large", version, GenerationRequest(CHAT), context, 50)
    with pytest.raises(RouterError, match="has no version"):
        await anext(stream)


@pytest.mark.parametrize("key", ["", "a\nb", "\N{SNOWMAN}"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key):
    model = RemoteModelSettings(name="large")
    provider = ProviderSettings(
        name="acme", base_url="http://x/v1", api_key_variable="K", models=(model,)
    )
    with pytest.raises(RouterError) as caught:
        open_providers([provider], {"K": key}.get)
    assert not key or key not in caught.value.message


def test_one_name_leads_to_one_model():
    model = RemoteModelSettings(name="large")
    providers = [
        ProviderSettings(name=name, base_url="http://x/v1", models=(model,)) for name in "ab"
    ]
    with pytest.raises(RouterError, match="have large twice"):
        open_providers(providers, {}.get)


def test_a_key_comes_from_a_file(tmp_path):
    path = tmp_path / "key"
    model = RemoteModelSettings(name="large")
    provider = ProviderSettings(
        name="acme", base_url="http://x/v1", api_key_file=path, models=(model,)
    )
    with pytest.raises(RouterError, match="cannot be read: FileNotFoundError"):
        open_providers([provider], {}.get)
    path.write_text(f"{KEY}\n")
    [opened] = open_providers([provider], {}.get)
    assert KEY not in repr(opened)


def test_what_a_model_is_said_to_lack_must_be_something_there_is():
    with pytest.raises(ValueError, match=r"knows no logprob; there are .*logprobs"):
        RemoteModelSettings(name="large", without=("logprob",))
