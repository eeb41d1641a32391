"""Texts and the vectors made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmrouter.v1 import embedding_pb2
from llmrouter_client.arguments import check_option, check_text

__all__ = ["Embedding", "Embeddings", "embedding_request_from", "embeddings_from"]


@dataclass(frozen=True, slots=True)
class Embedding:
    """The vector of one text."""

    values: tuple[float, ...]
    tokens: int
    """Tokens of the text that were computed."""
    truncated: bool
    """Whether the text was cut to the model's context."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of one model version, in the order of the texts."""

    model: str
    version: str
    vectors: tuple[Embedding, ...]

    def __len__(self) -> int:
        return len(self.vectors)

    def __iter__(self) -> Iterator[Embedding]:
        return iter(self.vectors)

    def __getitem__(self, index: int) -> Embedding:
        return self.vectors[index]


def embedding_request_from(
    texts: str | Sequence[str], model: str | None, *, truncate: bool
) -> embedding_pb2.EmbedRequest:
    """Return the request.

    Raises:
        LlmrouterError: A value does not fit its field at all.
    """
    check_option("model", model)
    check_option("truncate", truncate)
    if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
        check_text("texts", texts, "text, or a list of texts")
        texts = [texts]
    for index, text in enumerate(texts):
        check_text(f"texts[{index}]", text)
    return embedding_pb2.EmbedRequest(texts=texts, model=model or "", truncate=truncate)


def embeddings_from(response: embedding_pb2.EmbedResponse) -> Embeddings:
    """Return the vectors of a response."""
    return Embeddings(
        response.model,
        response.version,
        tuple(
            Embedding(tuple(one.values), one.tokens, one.truncated) for one in response.embeddings
        ),
    )
