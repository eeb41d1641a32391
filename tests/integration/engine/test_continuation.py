"""An answer that another replica began, gone on with on the real engine: that of one alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FormatKind, ResponseFormat, SamplingOptions
from llmrouter.inference.backends.base import (
    BackendFinished,
    BackendOptions,
    BackendRequest,
    TokenDelta,
)
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend

PROMPT = tuple(b"Once upon a time")
GREEDY = SamplingOptions(temperature=0, max_tokens=48)
DRAWN = SamplingOptions(
    temperature=0.9,
    seed=3,
    max_tokens=48,
    repetition_penalty=1.2,
    frequency_penalty=0.5,
    min_tokens=9,
)


@pytest.fixture
async def replica(tiny_folder: Path) -> AsyncIterator[OnnxRuntimeBackend]:
    backend = await OnnxRuntimeBackend.load(tiny_folder, BackendOptions(threads=2, slots=2))
    yield backend
    await backend.close()


async def answered(
    backend: OnnxRuntimeBackend, request: BackendRequest
) -> tuple[list[TokenDelta], BackendFinished]:
    events = [event async for event in backend.generate(request)]
    last = events[-1]
    assert isinstance(last, BackendFinished)
    return [event for event in events if isinstance(event, TokenDelta)], last


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, replace(GREEDY, logprobs=True)])
async def test_it_is_the_unbroken_answer_wherever_it_broke_off(
    tiny: OnnxRuntimeBackend, replica: OnnxRuntimeBackend, sampling: SamplingOptions
) -> None:
    whole, end = await answered(tiny, BackendRequest(PROMPT, sampling))
    text = "".join(delta.text for delta in whole)
    for count in range(1, len(whole)):
        said = whole[:count]
        ids = tuple(token for delta in said for token in delta.token_ids)
        assert len(ids) == sum(delta.tokens for delta in said)
        rest, last = await answered(replica, BackendRequest(PROMPT, sampling, answered=ids))
        assert "".join(delta.text for delta in (*said, *rest)) == text
        assert len(ids) + last.completion_tokens == end.completion_tokens
        assert (last.reason, last.stop) == (end.reason, end.stop)
        told = [one.token_id for delta in (*said, *rest) for one in delta.logprobs]
        assert told == [one.token_id for delta in whole for one in delta.logprobs]


async def test_a_stop_string_is_found_across_the_seam(
    tiny: OnnxRuntimeBackend, replica: OnnxRuntimeBackend
) -> None:
    whole, _ = await answered(tiny, BackendRequest(PROMPT, GREEDY))
    text = "".join(delta.text for delta in whole)
    sampling = replace(GREEDY, stop=(text[9:13],))
    stopped, end = await answered(tiny, BackendRequest(PROMPT, sampling))
    assert end.stop == text[9:13]
    for count in range(1, len(stopped)):
        ids = tuple(token for delta in stopped[:count] for token in delta.token_ids)
        rest, last = await answered(replica, BackendRequest(PROMPT, sampling, answered=ids))
        joined = "".join(delta.text for delta in (*stopped[:count], *rest))
        assert joined == "".join(delta.text for delta in stopped)
        assert last.stop == end.stop


@pytest.mark.parametrize(
    ("sampling", "tokens"),
    [
        (replace(GREEDY, n=2), 2),
        (replace(GREEDY, response_format=ResponseFormat(FormatKind.REGEX, "a*")), 2),
        (replace(GREEDY, max_tokens=2), 2),
        (GREEDY, 200),
    ],
)
async def test_what_cannot_be_gone_on_with_is_refused(
    tiny: OnnxRuntimeBackend, sampling: SamplingOptions, tokens: int
) -> None:
    request = BackendRequest(PROMPT, sampling, answered=(65,) * tokens)
    with pytest.raises(RouterError) as refused:
        await answered(tiny, request)
    assert refused.value.reason is Reason.INVALID_ARGUMENT
