"""What a response format promises: the answer matches it, or says that it was cut.

On the tiny model, whose random weights say anything at all; the demo model has its own tests below.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.engine.driving import library

from llmrouter import _native
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    FinishReason,
    FormatKind,
    Message,
    ResponseFormat,
    Role,
    SamplingOptions,
)
from llmrouter.inference.backends import onnxruntime as backend_module
from llmrouter.inference.backends.base import BackendFinished, BackendOptions, BackendRequest
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.text import ModelText, load_text

NAME = "smollm2-135m-instruct-int8"
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


@pytest.fixture
async def tiny(tiny_folder: Path) -> AsyncIterator[OnnxRuntimeBackend]:
    backend = await OnnxRuntimeBackend.load(tiny_folder, BackendOptions(threads=2, slots=8))
    yield backend
    await backend.close()


async def test_a_model_of_noise_still_answers_by_its_schema(tiny: OnnxRuntimeBackend) -> None:
    whole = [
        check(await answer(tiny, schema(of), temperature=heat, seed=seed), of)
        for of in (PERSON, CHOICE, TABLE, SMALL)
        for heat in (0.0, 1.2)
        for seed in range(3)
    ]
    assert sum(whole) >= 6


async def test_an_answer_matches_its_expression_as_a_whole(tiny: OnnxRuntimeBackend) -> None:
    for seed in range(5):
        told = await answer(tiny, regex("(ab|c){3}-[0-9]{2,4}é?"), seed=seed)
        assert told.whole
        assert re.fullmatch("(ab|c){3}-[0-9]{2,4}é?", told.text)


async def test_an_answer_follows_its_grammar(tiny: OnnxRuntimeBackend) -> None:
    sums = 'start: term (("+" | "-") term){0,3}\nterm: /[0-9]{1,3}/ | "(" start ")"'
    for seed in range(5):
        told = await answer(tiny, grammar(sums), seed=seed)
        if told.whole:
            assert re.fullmatch(r"[0-9()+-]+", told.text)
            assert told.text.count("(") == told.text.count(")")
            assert isinstance(eval(re.sub(r"\b0+(\d)", r"\1", told.text)), int)  # noqa: S307 (sums)


async def test_any_json_object_is_one(tiny: OnnxRuntimeBackend) -> None:
    wanted = ResponseFormat(FormatKind.JSON_OBJECT)
    told = [await answer(tiny, wanted, seed=seed) for seed in range(12)]
    whole = [json.loads(one.text) for one in told if one.whole]
    assert whole
    assert all(isinstance(one, dict) for one in whole)


async def test_an_answer_that_was_cut_says_so(tiny: OnnxRuntimeBackend) -> None:
    told = await answer(tiny, regex("[a-z]{50}"), max_tokens=10)
    assert (len(told.text), told.end.reason) == (10, FinishReason.LENGTH)
    told = await answer(tiny, regex("[a-z]{9}!!"), stop=("!",))
    assert (len(told.text), told.end.reason, told.end.stop) == (9, FinishReason.STOP, "!")


async def test_an_answer_that_can_only_end_does_whatever_its_min_tokens(
    tiny: OnnxRuntimeBackend,
) -> None:
    told = await answer(tiny, regex("[a-z]{5}"), min_tokens=50)
    assert (len(told.text), told.end.reason) == (5, FinishReason.STOP)
    longer = await answer(tiny, regex("[a-z]*"), min_tokens=50)
    assert len(longer.text) >= 50


async def test_penalties_and_biases_shape_what_the_format_leaves(
    tiny: OnnxRuntimeBackend, tiny_folder: Path
) -> None:
    biases = tuple(sorted((one, 100.0) for one in load_text(read_folder(tiny_folder)).encode("bx")))
    told = await answer(tiny, regex("[abc]{8}"), logit_bias=biases, top_k=1)
    assert told.text == "b" * 8


async def test_several_answers_each_follow_the_format(tiny: OnnxRuntimeBackend) -> None:
    told = await answers(tiny, regex("[a-z]{10}[0-9]"), n=4)
    assert all(re.fullmatch("[a-z]{10}[0-9]", one.text) for one in told)
    assert len({one.text for one in told}) > 1
    assert told[0].text == (await answer(tiny, regex("[a-z]{10}[0-9]"))).text


async def test_company_changes_nothing_on_either_side(tiny: OnnxRuntimeBackend) -> None:
    asks = [schema(SMALL) if i % 2 else None for i in range(8)]
    alone = [await answer(tiny, asked, seed=i) for i, asked in enumerate(asks)]
    together = await asyncio.gather(*(answer(tiny, one, seed=i) for i, one in enumerate(asks)))
    assert [one.text for one in together] == [one.text for one in alone]


async def test_leaving_early_frees_the_slot(tiny: OnnxRuntimeBackend) -> None:
    sampling = SamplingOptions(seed=1, max_tokens=100, response_format=regex("[a-z]*"))
    async with aclosing(tiny.generate(BackendRequest(PROMPT, sampling))) as events:
        await anext(events)
    while tiny.statistics().running:  # noqa: ASYNC110 (no event tells)
        await asyncio.sleep(0.001)
    assert check(await answer(tiny, schema({"const": 1})), {"const": 1})


WRONG = [
    (schema('{"a":\n 1,}'), "json_schema", "line 2, column 4"),
    (schema("[1]"), "json_schema", "is a JSON list; it must be an object"),
    (schema('{"const": NaN}'), "json_schema", "NaN is not a JSON number"),
    (schema('{"minimum": ' + "9" * 5000 + "}"), "json_schema", "is not JSON"),
    (schema("[" * 60_000), "json_schema", "nested too deeply"),
    (schema({"x-guidance": {"lenient": True}}), "json_schema", "x-guidance"),
    (schema({"properties": {"a": {"type": "strin"}}}), "json_schema", "at /properties/a: "),
    (schema({"items": {"anyOf": [{}, {"type": 3}]}}), "json_schema", "at /items/anyOf/1: type"),
    (
        schema({"properties": {"a/b": {"type": "string", "pattern": "(a"}}}),
        "json_schema",
        "at /properties/a~1b: the expression '(a' is wrong at column 1: unclosed group",
    ),
    (
        schema({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"not": {}}}}),
        "json_schema",
        'at /$defs/x: Unimplemented keys: ["not"]',
    ),
    (schema({"properties": {"a": {"$ref": "#/$defs/y"}}}), "json_schema", "at /properties/a: "),
    (schema({"properties": {"a": {"$ref": "http://x/y"}}}), "json_schema", "at /properties/a: "),
    (schema({"type": "array", "uniqueItems": True}), "json_schema", "at the root: Unimplemented"),
    (schema({"$ref": "#"}), "json_schema", "matches nothing at all"),
    (regex("ab/\n(c"), "regex", "at column 5: unclosed group"),
    (regex("a(?=b)"), "regex", "at column 2: look-around"),
    (regex(r"\bfoo"), "regex", "WordUnicode"),
    (grammar('start: "a" |\n  "b" )'), "grammar", "at line 2, column 3: expecting rule"),
    (grammar("start: X\nX: /a[/"), "grammar", "at line 2, column 4: the expression 'a['"),
    (grammar("start: start"), "grammar", "matches nothing at all"),
    (grammar('start: "a" # <|no|>\n  | <[256]>'), "grammar", "names a token at line 2, column 5"),
    (grammar('start: "<|a|>" <|end|>'), "grammar", "names a token at line 1, column 16"),
]


@pytest.mark.parametrize(("wanted", "field", "told"), WRONG)
async def test_what_is_wrong_is_refused_naming_its_place(
    tiny: OnnxRuntimeBackend, wanted: ResponseFormat, field: str, told: str
) -> None:
    with pytest.raises(RouterError) as refused:
        await answer(tiny, wanted)
    assert refused.value.reason is Reason.INVALID_ARGUMENT
    [violation] = refused.value.violations
    assert violation.field == f"sampling.response_format.{field}"
    assert told in violation.description
    assert "\n" not in violation.description
    assert tiny.statistics().running == tiny.statistics().waiting == 0


def chain(link: str, last: str, length: int) -> str:
    return "".join(f"{link.format(i=i, j=i + 1)}\n" for i in range(length)) + last


HOSTILE = [
    schema('{"type":"object","properties":{"a":' * 1500 + "{}" + "}}" * 1500),
    schema({"allOf": [{"anyOf": [{"required": [f"{i}{j}"]} for j in "ab"]} for i in range(20)]}),
    schema({"allOf": [{"type": "integer", "multipleOf": p} for p in (99991, 99989, 99971)]}),
    schema({"type": "string", "pattern": "^(.*a.{20}|.*b.{20})$", "minLength": 1000}),
    schema({"type": "string", "minLength": 10**9}),
    schema({"type": "array", "minItems": 10**9, "items": {"type": "array", "minItems": 10**9}}),
    schema({"enum": [f"x{i}" for i in range(7000)]}),
    schema(
        {
            "$defs": {
                **{f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(30)},
                "d30": {"type": "object"},
            },
            "$ref": "#/$defs/d0",
        }
    ),
    regex("((((a{1,1000}){1,1000}){1,1000}){1,1000})"),
    regex("(a?){30000}a{30000}"),
    regex("|".join(f".*{letter}.{{20}}" for letter in "abcdefghijklmnop")),
    regex("(" * 30_000 + "a" + ")" * 30_000),
    regex("(a*)*b" * 2000),
    grammar("start: " + "(" * 30_000 + '"a"' + ")" * 30_000),
    grammar('start: start start start | "a" | '),
    grammar(chain("T{i}: T{j} T{j}", 'T40: "x"\nstart: T0', 40)),
    grammar(chain("r{i}: r{j} r{j}", 'r40: "x" | \nstart: r0', 40)),
]


@pytest.mark.parametrize("wanted", HOSTILE, ids=lambda one: f"{one.kind}-{one.text[:20]}")
async def test_a_hostile_format_ends_in_a_refusal_or_is_followed(
    tiny: OnnxRuntimeBackend, wanted: ResponseFormat
) -> None:
    company = asyncio.create_task(answer(tiny, None, seed=3, max_tokens=60))
    [told] = await asyncio.gather(answer(tiny, wanted, seed=1), return_exceptions=True)
    if not isinstance(told, Answer):
        assert isinstance(told, RouterError)
        assert told.reason in (Reason.INVALID_ARGUMENT, Reason.GENERATION_FAILED)
        assert len(told.message) < 1000
    alone = await answer(tiny, None, seed=3, max_tokens=60)
    assert (await company).text == alone.text


async def test_a_format_is_compiled_once_for_all_who_ask_for_it(
    tiny: OnnxRuntimeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    constraints = tiny._constraints
    assert constraints is not None
    compile_one = constraints._compile

    def counting(wanted: ResponseFormat) -> object:
        compiled.append(wanted)
        return compile_one(wanted)

    monkeypatch.setattr(constraints, "_compile", counting)
    await asyncio.gather(*(answer(tiny, regex("[a-f]{4}"), seed=seed) for seed in range(6)))
    await answer(tiny, regex("[a-f]{4}"))
    assert len(compiled) == 1


async def test_too_many_formats_at_once_are_told_to_come_again(tiny: OnnxRuntimeBackend) -> None:
    asked = (answer(tiny, regex(f"a{{{i}}}"), max_tokens=4) for i in range(1, 60))
    told = await asyncio.gather(*asked, return_exceptions=True)
    refused = [one for one in told if isinstance(one, RouterError)]
    assert {one.reason for one in refused} == {Reason.QUEUE_FULL}
    assert all(one.retry_after for one in refused)


def test_a_library_that_is_not_llguidance_is_refused() -> None:
    with pytest.raises(_native.EngineError, match="lacks llg_get_version") as refused:
        _native.GrammarCompiler(str(library()), [b"a"], [0])
    assert refused.value.code is _native.ErrorCode.MODEL_UNAVAILABLE
    with pytest.raises(_native.EngineError, match="cannot open llguidance"):
        _native.GrammarCompiler("/no/such/library.so", [b"a"], [0])


async def test_formats_that_wait_while_the_model_is_unloaded_are_told_so(
    tiny: OnnxRuntimeBackend,
) -> None:
    asked = [asyncio.create_task(answer(tiny, regex(f"a{{{i}}}"))) for i in range(1, 9)]
    await asyncio.sleep(0)
    await tiny.close()
    for told in await asyncio.gather(*asked, return_exceptions=True):
        if not isinstance(told, Answer):
            assert isinstance(told, RouterError)
            assert told.reason is Reason.MODEL_UNAVAILABLE


async def test_what_is_remembered_is_bounded_in_number_and_in_text(
    tiny: OnnxRuntimeBackend,
) -> None:
    constraints = tiny._constraints
    assert constraints is not None
    for i in range(70):
        await constraints.compile(regex(f"a{i}"))
    assert len(constraints._compiled) == 64
    assert regex("a69") in constraints._compiled
    for i in range(6):
        await constraints.compile(regex(f"a{i}" + "b" * 60_000))
    assert sum(len(one.text) for one in constraints._compiled) == constraints._text <= 1 << 18


async def test_without_llguidance_the_option_is_unsupported(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "find_llguidance", lambda: None)
    backend = await OnnxRuntimeBackend.load(tiny_folder, BackendOptions(threads=2, slots=2))
    try:
        assert "structured_output" not in backend.honours
        assert "logprobs" in backend.honours
        with pytest.raises(RouterError) as refused:
            await answer(backend, regex("a"))
        assert refused.value.reason is Reason.UNSUPPORTED_OPTION
    finally:
        await backend.close()


_values = st.booleans() | st.integers(-9, 9) | st.text('aé"\\\n', max_size=3)
_leaves = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "boolean", "null"])}),
    st.builds(
        lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
        st.integers(-50, 50),
        st.integers(0, 100),
    ),
    st.builds(
        lambda low, size: {"type": "string", "minLength": low, "maxLength": low + size},
        st.integers(0, 3),
        st.integers(0, 5),
    ),
    st.fixed_dictionaries({"enum": st.lists(_values, min_size=1, max_size=3)}),
)


def _object(properties: dict[str, Any], required: bool) -> dict[str, Any]:
    names = list(properties) if required else []
    return {
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": False,
    }


_schemas = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(_object, st.dictionaries(st.text("ab\"/é", max_size=2), inner, max_size=2),
                  st.booleans()),
        st.builds(lambda items, most: {"type": "array", "items": items, "maxItems": most},
                  inner, st.integers(0, 2)),
        st.builds(lambda one, other: {"anyOf": [one, other]}, inner, inner),
    ),
    max_leaves=4,
)  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(of=_schemas, seed=st.integers(0, 1000))
def test_whatever_the_schema_a_whole_answer_is_valid(
    tiny_folder: Path, of: dict[str, Any], seed: int
) -> None:
    async def run() -> Answer:
        options = BackendOptions(threads=1, slots=1)
        backend = await OnnxRuntimeBackend.load(tiny_folder, options)
        try:
            return await answer(backend, schema(of), seed=seed, max_tokens=110)
        finally:
            await backend.close()

    check(asyncio.run(run()), of)


@pytest.fixture(scope="module")
def demo_path() -> Path:
    data = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    path = data / "llmrouter" / "models" / NAME
    if not path.is_dir():
        pytest.skip(
            f"{NAME} is not in the store: run `llmrouter models pull smollm2-135m-instruct`"
        )
    return path


@pytest.fixture
async def demo(demo_path: Path) -> AsyncIterator[tuple[OnnxRuntimeBackend, ModelText]]:
    options = BackendOptions(threads=2, slots=16, context=512)
    backend = await OnnxRuntimeBackend.load(demo_path, options)
    yield backend, load_text(read_folder(demo_path))
    await backend.close()


def chat(text: ModelText, question: str) -> tuple[int, ...]:
    return tuple(text.encode_chat([Message(Role.USER, (question,))]))


@pytest.mark.model
async def test_the_demo_model_answers_by_schema_beside_free_answers(
    demo: tuple[OnnxRuntimeBackend, ModelText],
) -> None:
    backend, text = demo
    prompt = chat(text, "Describe a person named Anna as JSON.")
    free = [{"seed": i, "temperature": 1.2 * (i % 2), "max_tokens": 24} for i in range(8)]
    alone = [await answer(backend, None, prompt, **options) for options in free]
    bound = [
        (of, {"seed": i, "temperature": heat, "max_tokens": 150})
        for i, (of, heat) in enumerate(
            (of, heat) for of in (PERSON, CHOICE, TABLE, PERSON) for heat in (0.0, 1.2)
        )
    ]
    told = await asyncio.gather(
        *(answer(backend, schema(of), prompt, **options) for of, options in bound),
        *(answer(backend, None, prompt, **options) for options in free),
    )
    assert all(check(one, of) for one, (of, _) in zip(told[:8], bound, strict=True))
    assert [one.text for one in told[8:]] == [one.text for one in alone]


@pytest.mark.model
async def test_the_demo_model_follows_expressions_and_grammars(
    demo: tuple[OnnxRuntimeBackend, ModelText],
) -> None:
    backend, text = demo
    prompt = chat(text, "On which day did people first walk on the Moon?")
    for heat in (0.0, 1.2):
        date = await answer(backend, regex("[0-9]{4}-[0-9]{2}-[0-9]{2}"), prompt, temperature=heat)
        assert re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", date.text)
        listed = 'start: item ("\\n" item){2}\nitem: "- " /[A-Za-z ]{3,30}/'
        told = await answer(backend, grammar(listed), prompt, temperature=heat)
        assert re.fullmatch("- [A-Za-z ]{3,30}(\n- [A-Za-z ]{3,30}){2}", told.text)
