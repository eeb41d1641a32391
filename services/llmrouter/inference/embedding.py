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
        version: A fingerprint, label or alias; empty takes the `stable` one.
        request: Validated.
        context: Who asks, and until when.

    Raises:
        RouterError: As `ModelRegistry.embedder` and `Embedder.embed`.
    """
    async with registry.embedder(name, version, context) as (facts, embedder):
        vectors = await embedder.embed(request, context)
        return EmbeddingResult(name, facts.version, vectors)
