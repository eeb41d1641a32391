"""The cache service as the links see it: domain values in and out, gRPC between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from grpc import aio

from llmrouter.common.generation import CacheLevel, RequestContext
from llmrouter.common.memory_tier import TierCounts
from llmrouter.common.savings import Saved, Spared
from llmrouter.common.wire import encode_context
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.gateway.answer_cache import Found, Keeping, LookedUp, News, SimilarQuestion
from llmrouter.gateway.answers import Answer
from llmrouter.gateway.cache_messages import (
    decode_found,
    decode_looked_up,
    decode_news,
    encode_report,
    encode_similar,
    encode_store,
)
from llmrouter.gateway.clients import ask
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1.cache_pb2_grpc import CacheServiceStub

if TYPE_CHECKING:
    from llmrouter.v1.cache_pb2_grpc import CacheServiceAsyncStub

__all__ = ["CacheClient"]

_NAME = "cache"


class CacheClient:
    """The cache over a channel.

    Args:
        channel: A `grpc.aio` channel or one in process.
        timeout: Seconds to wait for one answer.
    """

    def __init__(self, channel: Any, timeout: float) -> None:
        self._stub: CacheServiceAsyncStub = CacheServiceStub(channel)
        self._timeout = timeout

    async def lookup(self, key: bytes, session: str, context: RequestContext) -> LookedUp:
        """Return what is kept under `key`; on a miss ask for its lease, if there is a session."""
        who = encode_context(context)
        return await self._lookup(pb.LookupRequest(context=who, key=key, session=session), context)

    async def look_ahead(self, key: bytes, context: RequestContext) -> LookedUp:
        """Return what is kept under `key`; a miss does not count yet: `lookup` comes after it."""
        who = encode_context(context)
        return await self._lookup(pb.LookupRequest(context=who, key=key, ahead=True), context)

    async def stale(self, key: bytes, question: bytes, context: RequestContext) -> Found | None:
        """Return what is kept under `key` or for the question, though it may have expired."""
        who = encode_context(context)
        message = pb.LookupRequest(context=who, key=key, stale=True, question=question)
        return (await self._lookup(message, context)).found

    async def _lookup(self, message: pb.LookupRequest, context: RequestContext) -> LookedUp:
        remaining = context.remaining()
        response = await ask(self._stub.Lookup, message, _NAME, self._timeout, remaining)
        return decode_looked_up(response)

    async def wait(
        self, key: bytes, session: str, seconds: float, context: RequestContext
    ) -> LookedUp:
        """Wait for another's answer or for the lease, so many seconds at most."""
        message = pb.AwaitAnswerRequest(context=encode_context(context), key=key, session=session)
        remaining = context.remaining()
        return decode_looked_up(
            await ask(self._stub.AwaitAnswer, message, _NAME, seconds, remaining)
        )

    async def store(
        self, key: bytes, answer: Answer, how: Keeping, session: str, context: RequestContext
    ) -> int:
        """Keep a complete answer and end the lease; return the sequence it is kept under.

        The request's own deadline does not matter: its answer is there already.
        """
        message = encode_store(key, answer, how, session, context)
        return (await ask(self._stub.Store, message, _NAME, self._timeout, None)).as_of

    async def release(self, key: bytes, session: str, context: RequestContext) -> None:
        """End the lease without an answer."""
        message = pb.ReleaseLeaseRequest(context=encode_context(context), key=key, session=session)
        await ask(self._stub.ReleaseLease, message, _NAME, self._timeout, None)

    async def find_similar(
        self, question: SimilarQuestion, min_similarity: float, context: RequestContext
    ) -> tuple[Found, float] | None:
        """Return the answer to a question that means the same, and how similar that is."""
        message = pb.FindSimilarRequest(
            context=encode_context(context),
            question=encode_similar(question),
            min_similarity=min_similarity,
        )
        remaining = context.remaining()
        told = await ask(self._stub.FindSimilar, message, _NAME, self._timeout, remaining)
        return (decode_found(told.found), told.similarity) if told.HasField("found") else None

    async def add_similar(
        self, question: SimilarQuestion, key: bytes, context: RequestContext
    ) -> None:
        """Let the question of a stored answer be found; the request's deadline does not matter."""
        message = pb.AddSimilarRequest(
            context=encode_context(context), question=encode_similar(question), key=key
        )
        await ask(self._stub.AddSimilar, message, _NAME, self._timeout, None)

    async def watch(self, store_id: bytes, after: int) -> AsyncIterator[News]:
        """Stream invalidations.

        Raises:
            RouterError: The stream broke.
        """
        message = pb.WatchInvalidationsRequest(store_id=store_id, after=after)
        call = self._stub.WatchInvalidations(message)
        try:
            async for news in call:
                yield decode_news(news)
        except aio.AioRpcError as error:
            raise from_rpc_error(error, _NAME) from error
        finally:
            call.cancel()

    async def report(
        self, session: str, counts: TierCounts, rows: list[tuple[Saved, Spared]]
    ) -> None:
        """Tell what was answered here and what was spared."""
        message = encode_report(session, CacheLevel.GATEWAY, counts, rows)
        await ask(self._stub.ReportHits, message, _NAME, self._timeout, None)

    async def tell_versions(
        self, known: Sequence[tuple[str, str]], selector: str
    ) -> list[tuple[str, str]]:
        """Tell all versions that a selector knows of some models; return those just replaced."""
        versions = [pb.ModelAnswers(model=model, version=version) for model, version in known]
        message = pb.TellVersionsRequest(versions=versions, selector=selector)
        told = await ask(self._stub.TellVersions, message, _NAME, self._timeout, None)
        return [(one.model, one.version) for one in told.replaced]
