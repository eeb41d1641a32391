"""What gateway and cache service tell each other, to protos and back."""

from __future__ import annotations

from collections.abc import Iterable

from llmrouter.common.generation import CacheLevel, RequestContext
from llmrouter.common.memory_tier import TierCounts
from llmrouter.common.savings import Saved, Spared
from llmrouter.common.wire import encode_context, seconds
from llmrouter.common.wire_cache import encode_level, encode_savings
from llmrouter.common.wire_event import CACHE_LEVEL
from llmrouter.gateway.answer_cache import (
    Found,
    Keeping,
    Lease,
    LookedUp,
    News,
    SimilarQuestion,
)
from llmrouter.gateway.answers import Answer
from llmrouter.gateway.messages import decode_answer, encode_answer, encode_ttl
from llmrouter.v1 import cache_pb2 as pb

__all__ = [
    "decode_found",
    "decode_looked_up",
    "decode_news",
    "encode_report",
    "encode_similar",
    "encode_store",
]

_LEASES = {pb.LEASE_GRANTED: Lease.GRANTED, pb.LEASE_HELD: Lease.HELD}


def decode_looked_up(response: pb.LookupResponse | pb.AwaitAnswerResponse) -> LookedUp:
    """Return what the cache service knows of a key."""
    found = decode_found(response.found) if response.HasField("found") else None
    return LookedUp(found, response.sequence, _LEASES.get(response.lease, Lease.NONE))


def decode_found(one: pb.FoundAnswer) -> Found:
    """Return an answer that was found."""
    return Found(
        decode_answer(one.answer),
        CACHE_LEVEL.get(one.level, CacheLevel.MEMORY),
        seconds(one.remaining),
        tuple(one.answer.tags),
    )


def encode_similar(question: SimilarQuestion) -> pb.SimilarQuestion:
    """Return the proto of a question that is compared."""
    return pb.SimilarQuestion(
        partition=question.partition, text=question.text, vector=question.vector
    )


def encode_store(
    key: bytes, answer: Answer, how: Keeping, session: str, context: RequestContext
) -> pb.StoreRequest:
    """Return the message that keeps an answer."""
    return pb.StoreRequest(
        context=encode_context(context),
        key=key,
        answer=encode_answer(answer, how.tags),
        ttl=encode_ttl(how.ttl_seconds),
        as_of=how.as_of,
        session=session,
        refresh=how.refresh,
        question=how.question,
    )


def decode_news(message: pb.WatchInvalidationsResponse) -> News:
    """Return one message of the stream of invalidations."""
    return News(
        message.sequence,
        message.floor,
        tuple((one.label, one.sequence) for one in message.invalidations),
        message.session,
        message.store_id,
        seconds(message.default_ttl),
        message.more,
    )


def encode_report(
    session: str, level: CacheLevel, counts: TierCounts, rows: Iterable[tuple[Saved, Spared]]
) -> pb.ReportHitsRequest:
    """Return the message of what was answered here and what was spared."""
    return pb.ReportHitsRequest(
        session=session, level=encode_level(level, counts), savings=encode_savings(rows)
    )
