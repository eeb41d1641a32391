"""Chats by OpenAI's own client."""

from dataclasses import replace

import openai
import pytest
from tests.support.waiting import until
from tests.unit.gateway.doubles import answer_events, error

from llmrouter.common.continuation import Switched, Switching
from llmrouter.common.ensemble import EnsembleWish
from llmrouter.common.errors import FieldViolation, Reason
from llmrouter.common.generation import (
    Attempt,
    CacheLevel,
    CacheMode,
    CacheWishes,
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    FormatKind,
    Message,
    Priority,
    ResponseFormat,
    Role,
    RoutingWishes,
    SamplingOptions,
    Started,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from llmrouter.common.replay_pace import ReplayPace

TURNS = [{"role": "user", "content": "Where?"}]


async def ask(api, **options):
    return await api.client.chat.completions.create(
        **{"model": "auto", "messages": TURNS, **options}
    )


async def test_an_answer_comes_whole_with_its_usage_and_what_the_router_did(api):
    api.chain.script = answer_events()
    answer = await ask(api, extra_headers={"x-request-id": "mine"})
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Paris")
    assert (choice.finish_reason, choice.logprobs) == ("stop", None)
    assert (answer.id, answer.object, answer.model) == ("chatcmpl-mine", "chat.completion", "first")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (3, 5)
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.llmrouter["version"] == answer.system_fingerprint == "v1"
    assert answer.llmrouter["reason"] == "because"


async def test_a_stream_begins_with_a_role_and_ends_with_the_reason_and_the_usage(api):
    api.chain.script = answer_events()
    stream = await ask(api, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert [delta.role for delta in deltas] == ["assistant", None, None, None]
    assert [delta.content for delta in deltas] == ["", "Par", "is", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None, None, None, "stop"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 4
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 2)
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].llmrouter["reason"] == "because"


async def test_a_stream_goes_on_where_another_model_does_and_tells_it_beside(api):
    switch = Switched(
        from_model="first",
        from_version="v1",
        from_address="one:1",
        model="second",
        version="v2",
        address="two:2",
        reason="DRAINING",
        tokens=1,
    )
    begin, piece, *rest = answer_events()
    api.chain.script = [begin, piece, switch, *rest]
    chunks = [chunk async for chunk in await ask(api, stream=True)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Paris"
    [told] = [chunk.llmrouter["switched"] for chunk in chunks[1:] if hasattr(chunk, "llmrouter")]
    assert (told["from_model"], told["model"], told["tokens"]) == ("first", "second", 1)


async def test_a_stream_counts_nothing_unless_it_is_asked_to(api):
    api.chain.script = answer_events()
    chunks = [chunk async for chunk in await ask(api, stream=True)]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_several_answers_keep_their_places(api):
    api.chain.script = [
        Started("r", "first", "v1", "because"),
        Delta(1, "b", 1),
        Delta(0, "a", 1),
        ChoiceFinished(1, FinishReason.LENGTH),
        ChoiceFinished(0, FinishReason.STOP),
        Finished(Usage(1, 2)),
    ]
    answer = await ask(api, n=2)
    assert [choice.message.content for choice in answer.choices] == ["a", "b"]
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "length"]
    chunks = [chunk.choices[0] async for chunk in await ask(api, n=2, stream=True)]
    begun = [chunk.index for chunk in chunks if chunk.delta.role == "assistant"]
    assert begun == [0, 1]


async def test_log_probabilities_come_in_openais_form(api):
    told = TokenLogprob(7, -0.5, b"Pa", (TopLogprob(7, -0.5, b"Pa"), TopLogprob(9, -1.5, b"\xc3")))
    api.chain.script = [
        Started("r", "first", "v1", "because"),
        Delta(0, "Pa", 1, (told,)),
        ChoiceFinished(0, FinishReason.STOP),
        Finished(Usage(1, 1)),
    ]
    whole = await ask(api, logprobs=True, top_logprobs=2)
    chunks = [chunk async for chunk in await ask(api, logprobs=True, top_logprobs=2, stream=True)]
    streamed = next(chunk.choices[0] for chunk in chunks if chunk.choices[0].logprobs)
    for choice in (whole.choices[0], streamed):
        [one] = choice.logprobs.content
        assert (one.token, one.logprob, one.bytes) == ("Pa", -0.5, [80, 97])
        assert [(top.token, top.bytes) for top in one.top_logprobs] == [
            ("Pa", [80, 97]),
            ("\N{REPLACEMENT CHARACTER}", [0xC3]),
        ]


async def test_every_field_reaches_the_chain(api):
    api.chain.script = answer_events()
    await ask(
        api,
        model="auto:cost-optimized",
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": part} for part in ("Wh", "o?")]},
            {"role": "assistant", "content": "I."},
            {"role": "user", "content": "Why?"},
        ],
        temperature=0.5, top_p=0.9, n=2, stop="END", seed=-1, max_completion_tokens=9,
        presence_penalty=0.1, frequency_penalty=-0.1, logit_bias={"5": 2.5, "3": -1},
        logprobs=True, top_logprobs=3, user="u-1", service_tier="flex",
        response_format={
            "type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}
        },
        extra_body={
            "top_k": 4, "min_p": 0.1, "min_tokens": 2, "repetition_penalty": 1.1,
            "routing": {"min_quality": 0.2, "max_cost": 0.01, "tags": ["eu"], "max_latency": 3,
                        "max_time_to_first_token": 1.5, "session": "s-1", "no_exploration": True,
                        "min_confidence": 0.4, "ensemble": {"models": 3, "election": "vote"},
                        "switching": "off"},
            "cache": {"mode": "off", "ttl_seconds": 60, "tags": ["b", "a"], "similar": True},
        },
    )  # fmt: skip
    [(request, context)] = api.chain.calls
    assert request.messages == (
        Message(Role.SYSTEM, ("Be brief.",)),
        Message(Role.USER, ("Wh", "o?")),
        Message(Role.ASSISTANT, ("I.",)),
        Message(Role.USER, ("Why?",)),
    )
    assert request.sampling == SamplingOptions(
        temperature=0.5, top_p=0.9, n=2, stop=("END",), seed=(1 << 64) - 1, max_tokens=9,
        presence_penalty=0.1, frequency_penalty=-0.1, logit_bias=((3, -1), (5, 2.5)),
        logprobs=True, top_logprobs=3, top_k=4, min_p=0.1, min_tokens=2, repetition_penalty=1.1,
        response_format=ResponseFormat(FormatKind.JSON_SCHEMA, '{"type": "object"}'),
    )  # fmt: skip
    assert request.routing == RoutingWishes(
        "",
        "cost-optimized",
        0.2,
        0.01,
        ("eu",),
        3,
        1.5,
        "s-1",
        True,
        0.4,
        EnsembleWish(3),
        Switching.OFF,
    )
    assert request.cache == CacheWishes(CacheMode.OFF, 60, ("a", "b"), similar=True)
    assert request.priority is context.priority is Priority.LOW


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("auto", RoutingWishes()),
        ("auto:balanced", RoutingWishes(strategy="balanced")),
        ("first@v1", RoutingWishes(model="first@v1")),
    ],
)
async def test_the_name_of_the_model_says_how_it_is_chosen(api, model, expected):
    api.chain.script = answer_events()
    await ask(api, model=model)
    assert api.chain.calls[0][0].routing == expected


@pytest.mark.parametrize(
    ("fields", "sessions"),
    [({"user": "u"}, "u"), ({"user": "u", "prompt_cache_key": "k"}, "k")],
)
async def test_requests_that_belong_together_stay_together(api, fields, sessions):
    api.chain.script = answer_events()
    await ask(api, **fields)
    assert api.chain.calls[0][0].routing.session == sessions


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"type": "text"}, None, ""),
        ({"type": "json_object"}, FormatKind.JSON_OBJECT, ""),
        ({"type": "regex", "regex": "[0-9]+"}, FormatKind.REGEX, "[0-9]+"),
        ({"type": "grammar", "grammar": 'start: "a"'}, FormatKind.GRAMMAR, 'start: "a"'),
    ],
)
async def test_every_form_of_answer_can_be_asked_for(api, fields, kind, text):
    api.chain.script = answer_events()
    await ask(api, response_format=fields)
    expected = None if kind is None else ResponseFormat(kind, text)
    assert api.chain.calls[0][0].sampling.response_format == expected


async def test_what_asks_for_nothing_is_no_mistake(api):
    api.chain.script = answer_events()
    await ask(api, tools=[], store=False, metadata={}, extra_body={"audio": None, "stop": None})


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"functions": [{"name": "f"}]}, "functions", "functions is not supported here"),
        ({"nonsense": 1}, "nonsense", "nonsense is no field of this request"),
        ({"temperature": "hot"}, "temperature", "temperature must be a number, not 'hot'"),
        ({"messages": []}, "messages", "messages must not be empty"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "must be one of"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0].type",
            "'text'",
        ),
        ({"max_completion_tokens": 3, "max_tokens": 4}, "max_tokens", "give one of the two"),
        ({"response_format": {"type": "regex"}}, "response_format", "regex must be given"),
        ({"model": "auto:"}, "model", "auto, auto:STRATEGY"),
        ({"logit_bias": {str(1 << 31): 1}}, f"logit_bias.{1 << 31}.[key]", "must be less than"),
        ({"cache": {"ttl_seconds": 1e300}}, "cache.ttl_seconds", "at most 31536000"),
        ({"messages": [{"role": "user", "content": "x"}] * 1001}, "messages", "at most 1000"),
        ({"messages": [{"role": "user", "content": "x", "name": "me"}]}, "messages[0].name", "not"),
        ({"cache": {"mode": "sometimes"}}, "cache.mode", "sometimes"),
        ({"cache": {"pace": "slow"}}, "cache.pace", "must be original, or how many tokens"),
        (
            {"cache": {"pace": 9}},
            "cache.pace",
            "comes in one piece; leave it out, or ask for a str",
        ),
    ],
)
async def test_a_field_that_is_wrong_is_named_with_its_value(api, fields, param, message):
    own = {name: fields[name] for name in fields if name in ("model", "messages")}
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(api, **own, extra_body={**fields} if not own else None)
    body = caught.value.body
    assert (body["type"], body["param"]) == ("invalid_request_error", param)
    assert message in body["message"]
    assert not api.chain.calls


@pytest.mark.parametrize(("wish", "pace"), [("original", None), (12.5, 12.5), (12, 12.0)])
async def test_a_stream_may_wish_a_pace_for_kept_answers(api, wish, pace):
    api.chain.script = answer_events()
    stream = await ask(api, stream=True, extra_body={"cache": {"pace": wish}})
    assert [chunk async for chunk in stream]
    assert api.chain.calls[0][0].cache.pace == ReplayPace(pace)


async def test_fields_refused_by_the_chain_go_by_their_names_here(api):
    wrong = (FieldViolation("sampling.temperature", "is 3; it must be 0 to 2"),)
    api.chain.script = [error(Reason.INVALID_ARGUMENT, violations=wrong)]
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(api)
    assert caught.value.body["param"] == "temperature"
    assert caught.value.body["message"] == "temperature is 3; it must be 0 to 2"


@pytest.mark.parametrize(
    ("reason", "raised", "code"),
    [
        (Reason.UNKNOWN_MODEL, openai.NotFoundError, "model_not_found"),
        (Reason.CONTEXT_TOO_LONG, openai.BadRequestError, "context_length_exceeded"),
        (Reason.NO_CANDIDATE, openai.UnprocessableEntityError, "no_candidate"),
        (Reason.QUEUE_FULL, openai.RateLimitError, "queue_full"),
        (Reason.UPSTREAM_UNAVAILABLE, openai.InternalServerError, "upstream_unavailable"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_is_the_exception_that_its_callers_know(api, reason, raised, code, stream):
    api.chain.script = [error(reason, retry_after=2.5)]
    with pytest.raises(raised) as caught:
        await ask(api, stream=stream)
    assert caught.value.body["code"] == code
    assert caught.value.response.headers["retry-after"] == "3"
    assert "x-request-id" in caught.value.response.headers


async def test_a_failure_in_the_middle_of_a_stream_is_raised_after_what_came(api):
    api.chain.script = [*answer_events()[:2], error(Reason.ANSWER_BROKEN_OFF)]
    stream = await ask(api, stream=True)
    assert [(await anext(stream)).choices[0].delta.content for _ in range(2)] == ["", "Par"]
    with pytest.raises(openai.APIError, match="ANSWER_BROKEN_OFF"):
        await anext(stream)


@pytest.mark.parametrize("said", [0, 2])
async def test_what_nobody_foresaw_says_nothing_of_itself(api, said):
    api.chain.script = [*answer_events()[:said], ValueError("secret")]
    with pytest.raises(openai.APIError) as caught:
        [chunk async for chunk in await ask(api, stream=True)]
    assert "secret" not in str(caught.value)


async def test_a_caller_that_leaves_its_stream_ends_the_request(api):
    api.chain.script = [*answer_events()[:2], 60]
    stream = await ask(api, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await until(lambda: api.chain.log == ["closed"] and not api.gate.active)


async def test_a_caller_that_leaves_before_its_answer_ends_the_request(api):
    api.chain.script = [60]
    with pytest.raises(openai.APITimeoutError):
        await ask(api, timeout=0.2)
    await until(lambda: api.chain.log == ["closed"] and not api.gate.active)


async def test_the_header_gives_a_deadline(api):
    api.chain.script = answer_events()
    await ask(api, extra_headers={"x-request-timeout": "5"})
    assert api.chain.calls[0][1].remaining() <= 5, "the default is longer"
    with pytest.raises(openai.BadRequestError, match="x-request-timeout is 'soon'"):
        await ask(api, extra_headers={"x-request-timeout": "soon"})


async def test_an_answer_may_be_sent_back_as_a_turn_as_the_client_gives_it(api):
    api.chain.script = answer_events()
    first = await ask(api)
    turns = [*TURNS, first.choices[0].message, {"role": "user", "content": "And?"}]
    await ask(api, messages=turns)
    said = [turn.text for turn in api.chain.calls[1][0].messages]
    assert said == ["Where?", "Paris", "And?"]


async def test_a_turn_of_another_model_may_have_no_text_and_no_calls(api):
    api.chain.script = answer_events()
    empty = {"role": "assistant", "content": None, "tool_calls": []}
    await ask(api, messages=[*TURNS, empty])
    assert api.chain.calls[0][0].messages[1].text == ""


async def test_what_it_cost_and_what_the_cache_did_are_told(api):
    begun, *rest = answer_events()
    attempts = (
        Attempt(
            model="first",
            version="v1",
            address="one:1",
            duration=0.5,
            cost=0.25,
            confidence=0.4,
            set_aside="unsure",
        ),
        Attempt(model="second", version="v1", address="two:2", duration=0.5, cost=0.5),
    )
    began = replace(begun, cached=CacheLevel.MEMORY, similarity=0.9)
    api.chain.script = [began, *rest[:-1], replace(rest[-1], cost=0.75, attempts=attempts)]
    told = (await ask(api)).llmrouter
    assert (told["cost"], told["cached_in"], told["similarity"]) == (0.75, "memory", 0.9)
    assert [one["set_aside"] for one in told["attempts"]] == ["unsure", None]
    assert [one["cost"] for one in told["attempts"]] == [0.25, 0.5]
    stream = await ask(api, stream=True, stream_options={"include_usage": True})
    last = [chunk async for chunk in stream][-1]
    assert last.llmrouter["cost"] == 0.75
