"""One request on one embedding model: texts in, vectors out."""

from __future__ import annotations

from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.generation import RequestContext
from llmrouter.inference.models.registry import ModelRegistry

__all__ = ["embed"]


async def embed(
    registry: ModelRegistry,
    name: str,
    version: str,
    request: EmbeddingRequest,
    context: RequestContext,
) -> EmbeddingResult:
    """Run `request` on the model `name`.

    Args:
        registry: The models held.
        name: Which model.
        version: The version it must have; empty takes the one held.
        request: Validated.
        context: Who asks, and until when.

    Raises:
        RouterError: As `ModelRegistry.get_embedder` and `Embedder.embed`.
    """
    folder, embedder = registry.get_embedder(name, version)
    vectors = await embedder.embed(request, context)
    return EmbeddingResult(name, folder.version, vectors)
