"""One request on one model: text in, events out."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace

from llmrouter.common.closing import closing_stream
from llmrouter.common.continuation import Continuation
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    Finished,
    GenerationEvent,
    GenerationRequest,
    RequestContext,
    Started,
    Timings,
    Usage,
)
from llmrouter.inference.backends.base import (
    Backend,
    BackendFinished,
    BackendRequest,
    TokenDelta,
)
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.models.text import ModelText
from llmrouter.inference.seam import Seam, ended_before

__all__ = ["generate"]


async def generate(
    registry: ModelRegistry,
    name: str,
    version: str,
    request: GenerationRequest,
    context: RequestContext,
    max_tokens: int,
    begun: Continuation | None = None,
) -> AsyncIterator[GenerationEvent]:
    """Run `request` on the model `name`.

    Args:
        registry: The models held.
        name: Which model.
        version: A fingerprint, label or alias; empty takes the `stable` one.
        request: Validated.
        context: Who asks.
        max_tokens: Tokens generated when the request sets no limit.
        begun: The beginning of the answer where another service gave it; it is not repeated.

    Raises:
        RouterError: UNSUPPORTED_OPTION, this model cannot go on with an answer; as
            `ModelRegistry.generator`, `TextPool.run` and `Backend.generate`.
    """
    began = time.monotonic()
    async with registry.generator(name, version, context) as (facts, text, backend):
        tokens = await registry.texts.run(_tokenize, text, request)
        sampling = request.sampling
        if sampling.max_tokens is None:
            sampling = replace(sampling, max_tokens=max_tokens)
        why = f"{name} was asked for"
        yield Started(context.request_id, name, facts.version, why, prompt_tokens=len(tokens))
        answered = await registry.texts.run(_answered, text, request, begun)
        limit = min(sampling.max_tokens or max_tokens, backend.context - len(tokens))
        end = ended_before(begun, sampling, len(answered), limit)
        if end is not None:
            yield end
            yield Finished(Usage(len(tokens)), Timings(total=time.monotonic() - began))
            return
        asked = BackendRequest(
            tokens, sampling, context.priority, context.remaining(), context.tenant, answered,
            shrinks=request.sampling.max_tokens is None,
        )  # fmt: skip
        ends: list[BackendFinished] = []
        stream = _answer(backend, asked, Seam(begun, sampling, len(answered)), ends)
        async with closing_stream(stream) as events:
            async for event in events:
                yield event
        yield _finished(ends, time.monotonic() - began)


async def _answer(
    backend: Backend, asked: BackendRequest, seam: Seam, ends: list[BackendFinished]
) -> AsyncGenerator[Delta | ChoiceFinished, None]:
    """Stream what a backend says; the ends of the choices join `ends`."""
    stream = backend.generate(asked)
    async with closing_stream(stream) as events:
        async for event in events:
            match event:
                case TokenDelta(piece, count, choice, logprobs, ids):
                    yield Delta(choice, seam.new(piece), count, logprobs, ids)
                case BackendFinished():
                    ends.append(event)
                    yield ChoiceFinished(event.choice, event.reason, event.stop)


def _tokenize(text: ModelText, request: GenerationRequest) -> list[int]:
    if request.messages:
        return text.encode_chat(request.messages)
    return text.encode(request.prompt)


def _answered(
    text: ModelText, request: GenerationRequest, begun: Continuation | None
) -> Sequence[int]:
    """Return the tokens of what was answered elsewhere, by this model's own vocabulary."""
    if begun is None:
        return ()
    if begun.token_ids:
        return begun.token_ids
    return text.encode_answered(request.messages, request.prompt, begun.text)


def _finished(ends: list[BackendFinished], total: float) -> Finished:
    """Sum the choices up: the prompt was computed once, and they were generated side by side."""
    first = ends[0]
    return Finished(
        Usage(
            first.prompt_tokens,
            sum(end.completion_tokens for end in ends),
            first.cached_prompt_tokens,
        ),
        Timings(
            first.queue,
            first.prefill,
            max(end.decode for end in ends),
            min(end.time_to_first_token for end in ends),
            total,
        ),
    )
