"""A tiny T5-shaped model with random weights on CTranslate2: the prompt read, the answer told."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import (
    FinishReason,
    GenerationRequest,
    Message,
    RequestContext,
    Role,
    SamplingOptions,
)
from llmrouter.inference.backends.base import BackendOptions, BackendRequest, TokenDelta
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.generation import generate
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.models.residency import ModelState

pytest.importorskip("ctranslate2", reason="needs the extra `ctranslate2`")

from tests.integration.ctranslate2.tiny_t5 import TOKENS, reference, write_tiny_t5

from llmrouter.inference.backends.ctranslate2 import CTranslate2Backend

OPTIONS = BackendOptions(threads=1, batch_window_seconds=0.05, batch_padding=0.9)
GREEDY = SamplingOptions(temperature=0.0, max_tokens=20)
PROMPTS = [[5, 9, 30, 1], [40, 1], [7, 7, 8, 9, 10, 11, 12, 1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_t5(tmp_path_factory.mktemp("store") / "tiny-t5")


@pytest.fixture
async def backend(folder):
    made = await CTranslate2Backend.load(folder, OPTIONS)
    yield made
    await made.close()


async def answer(backend, prompt, sampling=GREEDY):
    pieces, end = [], None
    stream = backend.generate(BackendRequest(prompt, sampling))
    async with contextlib.aclosing(stream) as events:
        async for event in events:
            if isinstance(event, TokenDelta):
                pieces.append(event.text)
            else:
                end = event
    return "".join(pieces), end


def text(tokens):
    return "".join(token.replace("\u2581", " ") for token in tokens)


async def test_answers_together_are_what_ctranslate2_itself_gives_each_alone(backend, folder):
    expected = [reference(folder, prompt, 20) for prompt in PROMPTS]
    together = await asyncio.gather(*(answer(backend, prompt) for prompt in PROMPTS))
    assert backend.statistics().steps == 1
    assert len(set(map(tuple, expected))) > 1
    for (said, end), tokens in zip(together, expected, strict=True):
        assert said == text(tokens)
        ended = len(tokens) < 20
        assert end.reason is (FinishReason.STOP if ended else FinishReason.LENGTH)
        assert end.completion_tokens == len(tokens) + ended


async def test_a_full_prompt_leaves_the_answer_its_own_room(backend):
    said, end = await answer(backend, [9] * 62 + [1], replace(GREEDY, max_tokens=None))
    assert end.prompt_tokens == 63
    assert 1 < end.completion_tokens <= backend.context
    with pytest.raises(RouterError) as refused:
        await answer(backend, [9] * 64)
    assert refused.value.reason is Reason.CONTEXT_TOO_LONG
    assert said


async def test_each_answer_ends_at_its_own_limit(backend):
    limits = [1, 4, 9]
    ends = await asyncio.gather(
        *(
            answer(backend, PROMPTS[0], replace(GREEDY, max_tokens=limit, stop=("\u0000",)))
            for limit in limits
        )
    )
    assert all(end.completion_tokens <= limit for (_, end), limit in zip(ends, limits, strict=True))


async def test_the_service_answers_a_prompt_and_refuses_a_chat(folder):
    registry = ModelRegistry(folder.parent, OnnxRuntimeBackend, OPTIONS)
    await registry.start()
    try:
        [held] = registry.models
        assert (held.key.name, held.state) == ("tiny-t5", ModelState.READY)
        events = await ask(registry, GenerationRequest(prompt="w1 w2 w3", sampling=GREEDY))
        assert events[-1].usage.prompt_tokens == 4  # the end token that T5 reads is added
        message = Message(Role.USER, ("w1 w2",))
        with pytest.raises(RouterError, match="raw prompt"):
            await ask(registry, GenerationRequest(messages=(message,), sampling=GREEDY))
    finally:
        await registry.close()


async def ask(registry, request):
    stream = generate(registry, "tiny-t5", "", request, RequestContext("r"), 20)
    async with contextlib.aclosing(stream) as events:
        return [event async for event in events]


def test_the_vocabulary_is_the_tokenizers(folder):
    assert len(TOKENS) == 63
    assert (folder / "shared_vocabulary.json").is_file()
