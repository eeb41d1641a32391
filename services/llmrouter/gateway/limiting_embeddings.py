"""The same limits for texts that become vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.generation import RequestContext, Usage
from llmrouter.gateway.accounting import refusals_accounted
from llmrouter.gateway.callers import TextEmbedder
from llmrouter.gateway.embedding import EmbedRunner
from llmrouter.gateway.limiting import ARRIVAL, needed_amounts, used_amounts
from llmrouter.gateway.limits.limiter import Limiter
from llmrouter.gateway.plan import Candidate
from llmrouter.gateway.record import RequestObserver

__all__ = ["LimitedEmbedRunner", "RatedEmbedder"]


class RatedEmbedder:
    """Counts requests; those past a limit are accounted for here."""

    def __init__(
        self, limiter: Limiter, following: TextEmbedder, observers: Sequence[RequestObserver] = ()
    ) -> None:
        self._limiter, self._following, self._observers = limiter, following, observers

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> EmbeddingResult:
        """Return the vectors in the order of the texts.

        Raises:
            RouterError: As `Limiter.reserve`, and those of embedding.
        """
        with refusals_accounted(context, self._observers):
            hold = await self._limiter.reserve(context, ARRIVAL)
        try:
            return await self._following.embed(request, context)
        finally:
            hold.settle()


class LimitedEmbedRunner:
    """Reserves what a try may need, of the caller's limits and of the model's."""

    def __init__(self, limiter: Limiter, runner: EmbedRunner) -> None:
        self._limiter, self._runner = limiter, runner

    async def embed(
        self, candidate: Candidate, request: EmbeddingRequest, context: RequestContext
    ) -> EmbeddingResult:
        """Return the vectors of one model.

        Raises:
            RouterError: As `Limiter.reserve`, and those of inference.
        """
        needs = needed_amounts(_whole(candidate, request), request.text_bytes, 0)
        holds = [await self._limiter.reserve(context, needs)]
        tokens = 0
        try:
            amounts = {**ARRIVAL, **needs}
            holds.append(await self._limiter.reserve(context, amounts, model=candidate.model))
            result = await self._runner.embed(candidate, request, context)
            tokens = result.tokens
            return result
        finally:
            used = used_amounts(tokens, candidate.prices.cost(Usage(tokens)))
            for hold in holds:
                hold.settle(used)


def _whole(candidate: Candidate, request: EmbeddingRequest) -> Candidate:
    """Return the candidate with the tokens of all texts: the selector knows the longest alone."""
    if not candidate.prompt_tokens or not request.longest_bytes:
        return candidate
    tokens = -(-candidate.prompt_tokens * request.text_bytes // request.longest_bytes)
    return replace(candidate, prompt_tokens=tokens)
