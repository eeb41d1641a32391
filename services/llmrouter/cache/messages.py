"""The cache's own values to protos and back, and the bounds of what it is asked."""

from __future__ import annotations

from llmrouter.cache.invalidations import News
from llmrouter.cache.settings import MAX_TTL_SECONDS, MIN_TTL_SECONDS
from llmrouter.common.answer_key import KEY_BYTES, stored_key
from llmrouter.common.errors import invalid
from llmrouter.common.invalidation import key_label, model_label, tag_label, tenant_label
from llmrouter.common.validation import validate_tags
from llmrouter.common.wire import seconds
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1 import generation_pb2

__all__ = [
    "decode_label",
    "decode_ttl",
    "decode_versions",
    "encode_news",
    "place_of",
    "question_place_of",
    "tenant_of",
]

_MAX_TOLD = 4_096


def tenant_of(context: generation_pb2.RequestContext) -> str:
    """Return whose answers are meant.

    Raises:
        RouterError: INVALID_ARGUMENT when nobody's are.
    """
    size = len(context.tenant.encode())
    if not 1 <= size <= 128:
        raise invalid("context.tenant", f"has {size} bytes; 1 to 128 are allowed")
    return context.tenant


def place_of(context: generation_pb2.RequestContext, key: bytes) -> bytes:
    """Return where a tenant's answer is kept.

    Raises:
        RouterError: INVALID_ARGUMENT when tenant or key are out of bounds.
    """
    return stored_key(tenant_of(context), _checked("key", key))


def question_place_of(context: generation_pb2.RequestContext, question: bytes) -> bytes:
    """Return where the way to the answer of a tenant's question is kept: no answer lies there.

    Raises:
        RouterError: INVALID_ARGUMENT when tenant or question are out of bounds.
    """
    return stored_key(tenant_of(context), b"question" + _checked("question", question))


def _checked(field: str, key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise invalid(field, f"has {len(key)} bytes; it must have {KEY_BYTES}")
    return key


def decode_ttl(request: pb.StoreRequest, default: float) -> float:
    """Return the seconds an answer is to live.

    Raises:
        RouterError: INVALID_ARGUMENT when they are out of bounds.
    """
    if not request.HasField("ttl"):
        return default
    ttl = seconds(request.ttl)
    if not MIN_TTL_SECONDS <= ttl <= MAX_TTL_SECONDS:
        raise invalid("ttl", f"{ttl:g} s is not in 1 s to 365 days")
    return ttl


def decode_label(request: pb.InvalidateRequest) -> bytes:
    """Return the label that is to become unusable.

    Raises:
        RouterError: INVALID_ARGUMENT when none is named, or out of bounds.
    """
    target, tenant = request.WhichOneof("target"), tenant_of(request.context)
    if target == "key":
        return key_label(place_of(request.context, request.key))
    if target == "tag":
        validate_tags("tag", [request.tag])
        return tag_label(tenant, request.tag)
    if target == "model":
        _check_name("model.model", request.model.model)
        return model_label(request.model.model, request.model.version)
    if target == "tenant" and request.tenant:
        return tenant_label(tenant)
    raise invalid("target", "is not set; name a key, a tag, a model or the whole tenant")


def decode_versions(request: pb.TellVersionsRequest) -> dict[str, frozenset[str]]:
    """Return the versions of each model that is named.

    Raises:
        RouterError: INVALID_ARGUMENT when one has no name, or they are too many.
    """
    if len(request.versions) > _MAX_TOLD:
        raise invalid("versions", f"has {len(request.versions)}; at most {_MAX_TOLD} are allowed")
    if (size := len(request.selector.encode())) > 64:
        raise invalid("selector", f"has {size} bytes; at most 64 are allowed")
    found: dict[str, set[str]] = {}
    for at, one in enumerate(request.versions):
        _check_name(f"versions[{at}].model", one.model)
        _check_name(f"versions[{at}].version", one.version)
        found.setdefault(one.model, set()).add(one.version)
    return {model: frozenset(versions) for model, versions in found.items()}


def _check_name(field: str, name: str) -> None:
    size = len(name.encode())
    if not 1 <= size <= 256:
        raise invalid(field, f"has {size} bytes; 1 to 256 are allowed")


def encode_news(news: News) -> pb.WatchInvalidationsResponse:
    """Return the message of news."""
    marks = [pb.Invalidation(label=label, sequence=sequence) for label, sequence in news.marks]
    return pb.WatchInvalidationsResponse(
        sequence=news.sequence, floor=news.floor, invalidations=marks, more=news.more
    )
