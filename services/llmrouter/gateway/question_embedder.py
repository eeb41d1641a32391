"""The direction of a question: by a model of the suite, or by its words alone."""

from __future__ import annotations

import asyncio
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.errors import RouterError
from llmrouter.common.generation import RequestContext
from llmrouter.gateway.settings import SimilarSettings

__all__ = ["Direction", "QuestionEmbedder", "TextEmbedder", "hashed"]

_DIMENSIONS = 256
_LETTERS = 3
_WORD = re.compile(r"\w+")
_log = structlog.get_logger("llmrouter.gateway.question_embedder")


class TextEmbedder(Protocol):
    """What turns texts into vectors."""

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> EmbeddingResult:
        """Return the vectors in the order of the texts.

        Raises:
            RouterError: There are none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Direction:
    """A vector, who made it, and how near it is to those that mean the same."""

    maker: str
    """Vectors of different makers cannot be compared."""
    vector: Sequence[float]
    min_similarity: float


class QuestionEmbedder:
    """Asks the configured model; its words stand in for it while it does not answer."""

    def __init__(self, embedder: TextEmbedder, settings: SimilarSettings) -> None:
        self._embedder = embedder
        self._settings = settings

    async def embed(self, text: str, context: RequestContext) -> Direction:
        """Return the direction of a question; never fails."""
        chosen = self._settings
        if chosen.embedder:
            request = EmbeddingRequest((text,), model=chosen.embedder, truncate=True)
            try:
                async with asyncio.timeout(chosen.timeout_seconds):
                    made = await self._embedder.embed(request, context)
                maker = f"{made.model}@{made.version}"
                return Direction(maker, made.vectors[0].values, chosen.min_similarity)
            except (RouterError, TimeoutError) as error:
                _log.debug("a question is compared by words", error=str(error) or "too late")
        return Direction("words-1", hashed(text), chosen.min_similarity_of_words)


def hashed(text: str) -> list[float]:
    """Return a direction by words and their letters in threes, hashed; length 1 unless empty."""
    vector = [0.0] * _DIMENSIONS
    for word in _WORD.findall(text.lower()):
        framed = f"<{word}>"
        parts = [framed[at : at + _LETTERS] for at in range(len(framed) - _LETTERS + 1)]
        for part, weight in ((framed, 1.0), *((part, 0.3) for part in parts)):
            code = zlib.crc32(part.encode())
            vector[code % _DIMENSIONS] += weight if code & 0x80000000 else -weight
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector] if length else vector
