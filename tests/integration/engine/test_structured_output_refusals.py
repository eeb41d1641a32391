"""What a response format may not be, may not cost, and what is remembered of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.engine.driving import library
from tests.integration.engine.formats import Answer, answer, grammar, regex, schema

from llmrouter import _native
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    ResponseFormat,
)
from llmrouter.inference.backends import onnxruntime as backend_module
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend

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
        assert "structured_output" not in backend.honours()
        assert "logprobs" in backend.honours()
        with pytest.raises(RouterError) as refused:
            await answer(backend, regex("a"))
        assert refused.value.reason is Reason.UNSUPPORTED_OPTION
    finally:
        await backend.close()
