"""Whatever changes an answer changes its key, and nothing else does."""

import inspect
from dataclasses import fields, replace

import pytest

from llmrouter.common.answer_key import KEY_BYTES, answer_key, conversation_key, question_key
from llmrouter.common.generation import (
    CacheMode,
    CacheWishes,
    FormatKind,
    GenerationRequest,
    Message,
    ResponseFormat,
    Role,
    RoutingWishes,
    SamplingOptions,
)

SEEDED = SamplingOptions(temperature=0.5, seed=1, max_tokens=9, stop=("x", "y"))
ASKED = GenerationRequest(prompt="Where?", sampling=SEEDED)


def key(request=ASKED, tenant="default", model="m", version="v"):
    return answer_key(request, tenant, model, version)


def formatted(kind, text=""):
    wanted = ResponseFormat(kind, text)
    return key(replace(ASKED, sampling=replace(SEEDED, response_format=wanted)))


def test_formats_differ_by_their_kind_and_by_their_text():
    texts = [(kind, text) for kind in FormatKind for text in ("a", "b")]
    assert len({formatted(kind, text) for kind, text in texts}) == len(texts)


@pytest.mark.parametrize(
    "other",
    [
        key(tenant="other"),
        key(model="n"),
        key(version="w"),
        key(replace(ASKED, prompt="where?")),
        key(replace(ASKED, prompt="", messages=(Message(Role.USER, ("Where?",)),))),
        key(replace(ASKED, sampling=replace(SEEDED, temperature=0.6))),
        key(replace(ASKED, sampling=replace(SEEDED, seed=2))),
        key(replace(ASKED, sampling=replace(SEEDED, top_k=3))),
        key(replace(ASKED, sampling=replace(SEEDED, top_p=0.9))),
        key(replace(ASKED, sampling=replace(SEEDED, max_tokens=8))),
        key(replace(ASKED, sampling=replace(SEEDED, stop=("x",)))),
        key(replace(ASKED, sampling=replace(SEEDED, min_p=0.1))),
        key(replace(ASKED, sampling=replace(SEEDED, repetition_penalty=1.1))),
        key(replace(ASKED, sampling=replace(SEEDED, presence_penalty=0.1))),
        key(replace(ASKED, sampling=replace(SEEDED, frequency_penalty=0.1))),
        key(replace(ASKED, sampling=replace(SEEDED, logit_bias=((5, 1.0),)))),
        key(replace(ASKED, sampling=replace(SEEDED, min_tokens=1))),
        key(replace(ASKED, sampling=replace(SEEDED, n=2))),
        key(replace(ASKED, sampling=replace(SEEDED, logprobs=True))),
        formatted(FormatKind.JSON_OBJECT),
        formatted(FormatKind.JSON_SCHEMA, "a"),
        formatted(FormatKind.REGEX, "a"),
        formatted(FormatKind.GRAMMAR, "a"),
    ],
)
def test_what_changes_the_answer_changes_the_key(other):
    assert len(other) == KEY_BYTES
    assert other != key()


@pytest.mark.parametrize(
    "same",
    [
        key(replace(ASKED, routing=RoutingWishes(strategy="balanced"))),
        key(replace(ASKED, cache=CacheWishes(CacheMode.READ, 60))),
        key(replace(ASKED, sampling=replace(SEEDED, stop=("y", "x", "x")))),
        key(replace(ASKED, sampling=replace(SEEDED, logit_bias=((5, 0.0),)))),
        key(replace(ASKED, sampling=replace(SEEDED, top_logprobs=5))),
    ],
)
def test_what_leaves_the_answer_alone_leaves_the_key_alone(same):
    assert same == key()


def test_a_greedy_answer_does_not_depend_on_what_shapes_a_draw():
    greedy = replace(ASKED, sampling=SamplingOptions(temperature=0))
    options = SamplingOptions(temperature=0, seed=5, top_k=3, top_p=0.5, min_p=0.1)
    assert key(greedy) == key(replace(ASKED, sampling=options))


def test_a_greedy_answer_depends_on_what_shapes_its_logits():
    options = SamplingOptions(temperature=0)
    keys = {
        key(replace(ASKED, sampling=replace(options, **changed)))
        for changed in (
            {},
            {"repetition_penalty": 1.2},
            {"presence_penalty": 1.0},
            {"frequency_penalty": 1.0},
            {"logit_bias": ((5, 1.0),)},
            {"logit_bias": ((5, 2.0),)},
            {"min_tokens": 4},
            {"n": 3},
            {"logprobs": True},
            {"logprobs": True, "top_logprobs": 5},
        )
    }
    assert len(keys) == 10


def test_every_sampling_option_is_in_the_key_or_known_not_to_matter():
    names = {field.name for field in fields(SamplingOptions)}
    source = inspect.getsource(answer_key)
    assert {name for name in names if f"options.{name}" not in source} == set()


def turn(role, text):
    return Message(role, (text,))


def talk(*turns):
    return conversation_key(GenerationRequest(messages=turns), "default")


def test_all_turns_of_a_conversation_share_a_key_and_other_conversations_do_not():
    system, user = turn(Role.SYSTEM, "Be brief."), turn(Role.USER, "Where?")
    first = talk(system, user)
    assert len(first) == KEY_BYTES
    assert talk(system, user, turn(Role.ASSISTANT, "There."), turn(Role.USER, "Why?")) == first
    others = {
        talk(user),
        talk(system, turn(Role.USER, "When?")),
        talk(turn(Role.SYSTEM, "Be long."), user),
        conversation_key(GenerationRequest(messages=(system, user)), "other"),
    }
    assert len(others | {first}) == 5


def test_a_raw_prompt_is_no_conversation():
    assert conversation_key(ASKED, "default") == b""


def test_only_the_beginning_of_a_long_instruction_counts():
    long = "x" * 5000
    user = turn(Role.USER, "Where?")
    assert talk(turn(Role.SYSTEM, long + "a"), user) == talk(turn(Role.SYSTEM, long + "b"), user)
    assert talk(turn(Role.SYSTEM, "a" + long), user) != talk(turn(Role.SYSTEM, "b" + long), user)


def test_a_question_has_one_key_whichever_model_answers():
    assert question_key(ASKED, "default") == key(model="", version="")
    assert question_key(ASKED, "default") != question_key(replace(ASKED, prompt="Who?"), "default")
    assert question_key(ASKED, "default") != question_key(ASKED, "other")
