"""Whatever changes an answer changes its key, and nothing else does."""

import inspect
import unicodedata
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common import answer_key as answer_keys
from llmrouter.common.answer_key import (
    KEY_BYTES,
    answer_key,
    conversation_key,
    question_key,
    stored_key,
)
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
    return answer_key(question_key(request, tenant), model, version)


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
        key(replace(ASKED, cache=CacheWishes(CacheMode.READ, 60, ("tag",), drawn=True))),
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
    source = inspect.getsource(answer_keys._question_key)
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
    assert question_key(ASKED, "default") != question_key(replace(ASKED, prompt="Who?"), "default")
    assert question_key(ASKED, "default") != question_key(ASKED, "other")


TEXTS = st.text(max_size=12)
FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def requests():
    """Questions whose every option may differ."""
    small = st.integers(0, 3)
    options = st.builds(
        SamplingOptions,
        temperature=st.sampled_from([0, 0.0, -0.0, 0.5, 1, 1.0]),
        top_k=small,
        top_p=st.sampled_from([0.5, 1, 1.0]),
        seed=st.none() | small,
        max_tokens=st.none() | st.integers(1, 3),
        stop=st.lists(st.text(min_size=1, max_size=3), max_size=3).map(tuple),
        logit_bias=st.dictionaries(small, st.sampled_from([0.0, 1.0, 1]), max_size=3).map(
            lambda biases: tuple(sorted(biases.items()))
        ),
        n=st.integers(1, 2),
    )
    turns = st.builds(Message, st.sampled_from(Role), st.lists(TEXTS, max_size=3).map(tuple))
    return st.builds(
        GenerationRequest,
        messages=st.lists(turns, max_size=3).map(tuple),
        prompt=TEXTS,
        sampling=options,
    )


def meaning(request):
    """What a request asks for, as plain data: an independent statement of what is canonical."""
    options = request.sampling
    drawn = options.temperature != 0
    return (
        tuple((turn.role, turn.parts) for turn in request.messages),
        request.prompt,
        (options.temperature, options.top_k, options.top_p, options.seed) if drawn else None,
        options.max_tokens,
        frozenset(options.stop),
        frozenset((token, bias) for token, bias in options.logit_bias if bias),
        options.n,
    )


@given(requests(), requests())
def test_keys_are_equal_exactly_where_the_questions_mean_the_same(one, other):
    assert (key(one) == key(other)) == (meaning(one) == meaning(other))


@given(st.permutations(["x", "y", "z"]), st.permutations([(1, 1.0), (2, 2.0), (3, -1.0)]))
def test_the_order_of_stops_and_biases_does_not_matter(stops, biases):
    options = replace(SEEDED, stop=tuple(stops), logit_bias=tuple(biases))
    sorted_options = replace(
        SEEDED, stop=("x", "y", "z"), logit_bias=((1, 1.0), (2, 2.0), (3, -1.0))
    )
    assert key(replace(ASKED, sampling=options)) == key(replace(ASKED, sampling=sorted_options))


@given(TEXTS, st.sampled_from(FORMS))
def test_unicode_forms_of_a_prompt_are_prompts_of_their_own(text, form):
    normalised = unicodedata.normalize(form, text)
    one, other = (key(replace(ASKED, prompt=prompt)) for prompt in (text, normalised))
    assert (one == other) == (text == normalised)


@given(st.lists(TEXTS, max_size=4), st.lists(TEXTS, max_size=4))
def test_text_cannot_move_between_parts_or_turns(one, other):
    def asked(parts):
        return key(replace(ASKED, messages=(Message(Role.USER, tuple(parts)),)))

    assert (asked(one) == asked(other)) == (one == other)


NAMES = st.text(max_size=4)


@given(st.tuples(NAMES, NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES))
def test_no_tenant_model_and_version_share_the_key_of_others(one, other):
    assert (key(ASKED, *one) == key(ASKED, *other)) == (one == other)


@given(NAMES, NAMES, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_no_tenant_stores_where_another_does(tenant, other, its_key, others_key):
    same = stored_key(tenant, its_key) == stored_key(other, others_key)
    assert same == ((tenant, its_key) == (other, others_key))


def test_the_key_of_a_version_of_the_format_never_changes():
    expected = "48a837b2e763f582853bc516ad6e7b429c61fc7cd559b4e373a9596362140b99"
    assert key().hex() == expected


def test_callers_that_are_held_to_models_share_questions_with_those_held_to_the_same():
    free, held = question_key(ASKED, "default"), frozenset({"a", "b"})
    assert question_key(ASKED, "default", frozenset()) == free
    assert question_key(ASKED, "default", held) == question_key(ASKED, "default", frozenset("ba"))
    others = [question_key(ASKED, "default", frozenset(one)) for one in ("a", "b", "abc")]
    assert len({free, question_key(ASKED, "default", held), *others}) == 5


def test_a_question_is_hashed_once_for_whoever_asks_for_its_key(monkeypatch):
    request = replace(ASKED)
    before = question_key(request, "default")
    monkeypatch.setattr(answer_keys, "_canonical", None)
    assert question_key(request, "default") == before
    with pytest.raises(TypeError):
        question_key(replace(request), "default")
