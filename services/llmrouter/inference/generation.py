"""One request on one model: text in, events out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

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
from llmrouter.inference.backends.base import BackendFinished, BackendRequest, TokenDelta
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.models.text import ModelText

__all__ = ["generate"]


async def generate(
    registry: ModelRegistry,
    name: str,
    version: str,
    request: GenerationRequest,
    context: RequestContext,
    max_tokens: int,
) -> AsyncIterator[GenerationEvent]:
    """Run `request` on the model `name`.

    Args:
        registry: The models held.
        name: Which model.
        version: A fingerprint, label or alias; empty takes the `stable` one.
        request: Validated.
        context: Who asks.
        max_tokens: Tokens generated when the request sets no limit.

    Raises:
        RouterError: As `ModelRegistry.generator`, `TextPool.run` and `Backend.generate`.
    """
    began = time.monotonic()
    async with registry.generator(name, version, context) as (facts, text, backend):
        tokens = await registry.texts.run(_tokenize, text, request)
        sampling = request.sampling
        if sampling.max_tokens is None:
            sampling = replace(sampling, max_tokens=max_tokens)
        why = f"{name} was asked for"
        yield Started(context.request_id, name, facts.version, why, prompt_tokens=len(tokens))
        ends: list[BackendFinished] = []
        asked = BackendRequest(
            tokens, sampling, context.priority, context.remaining(), context.tenant
        )
        stream = backend.generate(asked)
        async with contextlib.aclosing(stream) as events:  # type: ignore[type-var]
            async for event in events:
                match event:
                    case TokenDelta(piece, count, choice, logprobs):
                        yield Delta(choice, piece, count, logprobs)
                    case BackendFinished():
                        ends.append(event)
                        yield ChoiceFinished(event.choice, event.reason, event.stop)
        yield _finished(ends, time.monotonic() - began)


def _tokenize(text: ModelText, request: GenerationRequest) -> list[int]:
    if request.messages:
        return text.encode_chat(request.messages)
    return text.encode(request.prompt)


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
