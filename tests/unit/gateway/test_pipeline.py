"""The pipeline as a whole, between doubles of the other services."""

import asyncio

from tests.unit.gateway.doubles import CONTEXT

from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult, Vector
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.neighbours import Neighbours
from llmrouter.gateway.pipeline import Shared, build_embedding, build_pipeline
from llmrouter.gateway.plan import Candidate, Plan
from llmrouter.gateway.reporting import BackgroundReporter
from llmrouter.gateway.safety.policy import Policy
from llmrouter.gateway.settings import GatewaySettings


class Around:
    """Selector and inference in one; reports take a turn of the loop to arrive."""

    def __init__(self):
        self.reported = []

    async def select_embedder(self, request, context):
        return Plan("p", (Candidate("m", "1", "a:1"),), "because")

    async def embed(self, candidate, request, context):
        return EmbeddingResult("m", "1", (Vector((1.0,), 3),))

    async def report_outcome(self, plan_id, outcomes, context):
        await asyncio.sleep(0.01)
        self.reported.append(plan_id)


async def test_what_became_of_an_embedding_is_told_before_the_pipeline_is_closed():
    around, settings = Around(), GatewaySettings()
    neighbours = Neighbours(
        selector=around, cache=None, upstream=around, reporter=BackgroundReporter(around)
    )
    near, policy = NearCache(1 << 20), Policy(settings.safety)
    shared = Shared(near=near, serves=lambda *_: True, policy=policy)
    pipeline = build_pipeline(settings, neighbours, shared)
    await build_embedding(neighbours).embed(EmbeddingRequest(("red",)), CONTEXT)
    assert around.reported == []
    await pipeline.close()
    assert around.reported == ["p"]
