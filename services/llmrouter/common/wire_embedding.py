"""Embeddings to protos and back."""

from __future__ import annotations

from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult, Vector
from llmrouter.v1 import embedding_pb2 as pb

__all__ = [
    "decode_embedding_request",
    "decode_embedding_result",
    "encode_embedding_request",
    "encode_embedding_result",
]


def decode_embedding_request(request: pb.EmbedRequest) -> EmbeddingRequest:
    """Return the texts; bounds are checked by `validation.py`."""
    return EmbeddingRequest(tuple(request.texts), request.model, request.truncate)


def encode_embedding_request(request: EmbeddingRequest) -> pb.EmbedRequest:
    """Return the proto of the texts."""
    return pb.EmbedRequest(texts=request.texts, model=request.model, truncate=request.truncate)


def decode_embedding_result(response: pb.EmbedResponse) -> EmbeddingResult:
    """Return the vectors."""
    return EmbeddingResult(
        response.model,
        response.version,
        tuple(Vector(tuple(one.values), one.tokens, one.truncated) for one in response.embeddings),
    )


def encode_embedding_result(result: EmbeddingResult) -> pb.EmbedResponse:
    """Return the proto of the vectors."""
    return pb.EmbedResponse(
        model=result.model,
        version=result.version,
        embeddings=[
            pb.Embedding(values=one.values, tokens=one.tokens, truncated=one.truncated)
            for one in result.vectors
        ],
    )
