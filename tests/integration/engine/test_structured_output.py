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
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.engine.formats import (
    CHOICE,
    PERSON,
    PROMPT,
    SMALL,
    TABLE,
    answer,
    answers,
    check,
    grammar,
    regex,
    schema,
)

from llmrouter.common.generation import (
    FinishReason,
    FormatKind,
    Message,
    ResponseFormat,
    Role,
    SamplingOptions,
)
from llmrouter.inference.backends.base import BackendOptions, BackendRequest
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.text import ModelText, load_text

NAME = "smollm2-135m-instruct-int8"


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


@pytest.mark.parametrize("examples", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_whatever_the_schema_a_whole_answer_is_valid(tiny_folder: Path, examples: int) -> None:
    with asyncio.Runner() as runner:
        options = BackendOptions(threads=1, slots=1)
        backend = runner.run(OnnxRuntimeBackend.load(tiny_folder, options))

        @settings(max_examples=examples, deadline=None)
        @given(of=_schemas, seed=st.integers(0, 1000))
        def holds(of: dict[str, Any], seed: int) -> None:
            check(runner.run(answer(backend, schema(of), seed=seed, max_tokens=110)), of)

        try:
            holds()
        finally:
            runner.run(backend.close())


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
