"""The cache on the wire: decode, call, encode."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import DecodeError

from llmrouter.cache.claims import Claim, Claims
from llmrouter.cache.invalidations import Invalidations
from llmrouter.cache.leases import Leases
from llmrouter.cache.messages import (
    decode_label,
    decode_ttl,
    decode_versions,
    encode_news,
    place_of,
    question_place_of,
)
from llmrouter.cache.semantic.answers import SimilarQuestions
from llmrouter.cache.semantic.messages import decode_question
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import Tiers
from llmrouter.cache.versions import VersionBook
from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.generation import CacheLevel
from llmrouter.common.invalidation import answer_labels, key_label
from llmrouter.common.memory_tier import TierCounts
from llmrouter.common.savings import SavingsTable
from llmrouter.common.validation import validate_tags
from llmrouter.common.wire import duration
from llmrouter.common.wire_cache import (
    decode_counts,
    decode_savings,
    encode_level,
    encode_savings,
)
from llmrouter.common.wire_event import CACHE_LEVEL_OUT
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1.cache_pb2_grpc import CacheServiceServicer

__all__ = ["CacheServicer"]

_log = logging.getLogger(__name__)


class CacheServicer(CacheServiceServicer):
    """Keeps answers and gives them back to the tenant that stored them."""

    def __init__(
        self,
        settings: CacheSettings,
        tiers: Tiers,
        invalidations: Invalidations,
        versions: VersionBook,
        claims: Claims | None = None,
        similar: SimilarQuestions | None = None,
    ) -> None:
        """Compose the service; who opened `tiers` and `similar` closes them.

        Without `claims` no other service shares; without `similar` no question is like another.
        """
        self._settings = settings
        self._tiers = tiers
        self._invalidations = invalidations
        self._versions = versions
        self._claims = claims or Claims(Leases())
        self._similar = similar
        self._savings = SavingsTable()
        self._gateways: dict[str, TierCounts] = {}

    def stop_waiting(self) -> None:
        """End the calls that last until something happens: nothing more will."""
        self._invalidations.close()
        self._claims.close()

    async def Lookup(  # noqa: N802 - the proto's name
        self, request: pb.LookupRequest, context: Any
    ) -> pb.LookupResponse:
        """Look an answer up; an answer that cannot be read any more is a miss."""
        session, sequence = request.session, self._invalidations.sequence
        if request.stale:
            return pb.LookupResponse(found=await self._find_late(request), sequence=sequence)
        place = place_of(request.context, request.key)
        if not self._invalidations.knows(session):
            found = await self._find(place, ahead=request.ahead)
            return pb.LookupResponse(found=found, sequence=sequence)
        # Taken before looking: an answer stored meanwhile is then found by whoever holds the lease.
        before = self._claims.holds(place, session)
        leads = self._claims.lead(place, session)
        try:
            found = await self._find(place)
            claim = await self._claims.take(place) if leads and found is None else Claim.HELD
            if claim is Claim.ANSWERED:
                found = await self._find(place)
        except BaseException:
            if not before:
                await self._claims.release(place, session)
            raise
        if found is None and claim is not Claim.HELD:
            return pb.LookupResponse(sequence=sequence, lease=pb.LEASE_GRANTED)
        if not before:
            await self._claims.release(place, session)
        lease = pb.LEASE_UNSPECIFIED if found else pb.LEASE_HELD
        return pb.LookupResponse(found=found, sequence=sequence, lease=lease)

    async def AwaitAnswer(  # noqa: N802 - the proto's name
        self, request: pb.AwaitAnswerRequest, context: Any
    ) -> pb.AwaitAnswerResponse:
        """Wait for the holder of a lease; an answer that is gone by then leaves all free."""
        place = place_of(request.context, request.key)
        if not self._invalidations.knows(request.session):
            raise invalid("session", "is not open; watch invalidations to have one")
        granted = not await self._claims.wait(place, request.session)
        sequence = self._invalidations.sequence
        found = await self._find(place)
        if found is None:
            lease = pb.LEASE_GRANTED if granted else pb.LEASE_UNSPECIFIED
            return pb.AwaitAnswerResponse(sequence=sequence, lease=lease)
        if granted:
            await self._claims.answered(place)
        return pb.AwaitAnswerResponse(found=found, sequence=sequence)

    async def Store(  # noqa: N802 - the proto's name
        self, request: pb.StoreRequest, context: Any
    ) -> pb.StoreResponse:
        """Keep an answer; acknowledged once the disk has it."""
        place = place_of(request.context, request.key)
        try:
            as_of = await self._keep(place, request)
        except BaseException:
            await self._claims.release(place, request.session)
            raise
        await self._claims.answered(place)
        return pb.StoreResponse(as_of=as_of)

    async def ReleaseLease(  # noqa: N802 - the proto's name
        self, request: pb.ReleaseLeaseRequest, context: Any
    ) -> pb.ReleaseLeaseResponse:
        """End a lease without an answer."""
        await self._claims.release(place_of(request.context, request.key), request.session)
        return pb.ReleaseLeaseResponse()

    async def FindSimilar(  # noqa: N802 - the proto's name
        self, request: pb.FindSimilarRequest, context: Any
    ) -> pb.FindSimilarResponse:
        """Look for the answer to a question that means the same."""
        question = decode_question(request.context, request.question)
        if self._similar is not None:
            for one in await self._similar.find(question, request.min_similarity):
                found = await self._find(one.place)
                if found is not None:
                    return pb.FindSimilarResponse(found=found, similarity=one.similarity)
                await self._similar.forget(question, one.place)
        return pb.FindSimilarResponse()

    async def AddSimilar(  # noqa: N802 - the proto's name
        self, request: pb.AddSimilarRequest, context: Any
    ) -> pb.AddSimilarResponse:
        """Let the question of an answer be found."""
        question = decode_question(request.context, request.question)
        place = place_of(request.context, request.key)
        if self._similar is not None:
            await self._similar.add(question, place)
        return pb.AddSimilarResponse()

    async def Invalidate(  # noqa: N802 - the proto's name
        self, request: pb.InvalidateRequest, context: Any
    ) -> pb.InvalidateResponse:
        """Make answers unusable; acknowledged once the disk knows."""
        sequence = await self._invalidations.invalidate(decode_label(request))
        return pb.InvalidateResponse(sequence=sequence)

    async def TellVersions(  # noqa: N802 - the proto's name
        self, request: pb.TellVersionsRequest, context: Any
    ) -> pb.TellVersionsResponse:
        """Drop the answers of versions that others have replaced; acknowledged once it is kept."""
        replaced = await self._versions.tell(decode_versions(request), request.selector)
        gone = [pb.ModelAnswers(model=model, version=version) for model, version in replaced]
        return pb.TellVersionsResponse(replaced=gone)

    async def WatchInvalidations(  # noqa: N802 - the proto's name
        self, request: pb.WatchInvalidationsRequest, context: Any
    ) -> AsyncIterator[pb.WatchInvalidationsResponse]:
        """Tell a gateway what it may no longer serve, until it goes away."""
        session = self._invalidations.open_session()
        try:
            first = True
            async for news in self._invalidations.watch(session, request.store_id, request.after):
                message = encode_news(news)
                if first:
                    message.session = session
                    message.store_id = self._invalidations.store_id
                    message.default_ttl.CopyFrom(duration(self._settings.default_ttl_seconds))
                    first = False
                yield message
        finally:
            self._invalidations.close_session(session)
            self._gateways.pop(session, None)
            await self._claims.end(session)

    async def ReportHits(  # noqa: N802 - the proto's name
        self, request: pb.ReportHitsRequest, context: Any
    ) -> pb.ReportHitsResponse:
        """Take in what a gateway answered by itself and what was spared."""
        if self._invalidations.knows(request.session):
            self._gateways[request.session] = decode_counts(request.level)
        for saved, spared in decode_savings(request.savings):
            self._savings.add(saved, spared)
        return pb.ReportHitsResponse()

    async def GetStatistics(  # noqa: N802 - the proto's name
        self, request: pb.GetStatisticsRequest, context: Any
    ) -> pb.GetStatisticsResponse:
        """Return sizes and counts, fastest level first, and what was spared."""
        nearest = sum(self._gateways.values(), TierCounts())
        levels = ((CacheLevel.GATEWAY, nearest), *await self._tiers.counts())
        return pb.GetStatisticsResponse(
            levels=[encode_level(level, counts) for level, counts in levels],
            savings=encode_savings(self._savings.rows()),
            gateways=self._invalidations.watching(),
            invalidations=self._invalidations.count,
        )

    async def _keep(self, place: bytes, request: pb.StoreRequest) -> int:
        ttl = decode_ttl(request, self._settings.default_ttl_seconds)
        payload, answer = self._payload(request), request.answer
        tenant, as_of = request.context.tenant, request.as_of
        labels = answer_labels(place, tenant, answer.model, answer.version, answer.tags)
        if request.refresh:
            as_of = await self._invalidations.invalidate(key_label(place))
        question = b""
        if request.question:
            question = question_place_of(request.context, request.question)
        return await self._tiers.store(place, payload, labels, ttl, as_of, question)

    async def _find_late(self, request: pb.LookupRequest) -> pb.FoundAnswer | None:
        """Find an answer that may have expired by its key, else by its question."""
        if request.key or not request.question:
            place = place_of(request.context, request.key)
            found = await self._find(place, stale=True)
            if found is not None or not request.question:
                return found
        known = await self._tiers.target(question_place_of(request.context, request.question))
        return None if known is None else await self._find(known, stale=True)

    async def _find(
        self, place: bytes, *, stale: bool = False, ahead: bool = False
    ) -> pb.FoundAnswer | None:
        hit = await self._tiers.lookup(place, stale=stale, ahead=ahead)
        if hit is None:
            return None
        try:
            answer = pb.CachedAnswer.FromString(hit.payload)
        except DecodeError:
            _log.exception("a stored answer cannot be read")
            return None
        return pb.FoundAnswer(
            answer=answer,
            level=CACHE_LEVEL_OUT[hit.level],
            age=duration(hit.age),
            remaining=duration(hit.remaining),
        )

    def _payload(self, request: pb.StoreRequest) -> bytes:
        if not request.HasField("answer") or not request.answer.choices:
            raise invalid("answer.choices", "none given; an answer has at least one")
        validate_tags("answer.tags", request.answer.tags)
        size, most = request.answer.ByteSize(), self._settings.max_entry_bytes
        if size > most:
            raise RouterError(
                Reason.ENTRY_TOO_LARGE,
                f"the answer has {size} bytes, more than the cache's limit of {most} for one entry",
                metadata={"bytes": str(size), "max_bytes": str(most)},
            )
        return request.answer.SerializeToString()
