"""The domain of embeddings: texts in, vectors out. Plain values without gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["EmbeddingRequest", "EmbeddingResult", "Vector"]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to be turned into vectors."""

    texts: tuple[str, ...]
    model: str = ""
    """A name, `name@version` or alias; empty lets the selector choose."""
    truncate: bool = False
    """Cut texts that are longer than the model's context rather than refuse them."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 size of all texts."""
        return sum(len(text.encode()) for text in self.texts)

    @property
    def longest_bytes(self) -> int:
        """UTF-8 size of the longest text."""
        return max((len(text.encode()) for text in self.texts), default=0)


@dataclass(frozen=True, slots=True)
class Vector:
    """The direction of one text."""

    values: Sequence[float]
    tokens: int
    """Tokens of the text that were computed."""
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """The vectors of one model version, in the order of the texts."""

    model: str
    version: str
    vectors: tuple[Vector, ...]

    @property
    def tokens(self) -> int:
        """Tokens computed for all texts."""
        return sum(vector.tokens for vector in self.vectors)
