"""A cache servicer, and what is asked of it."""

from llmrouter.common.wire import duration
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1 import generation_pb2 as generation

KEY = bytes(range(32))


class Clock:
    """Seconds since the epoch, which tests set."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


def who(tenant="default"):
    return generation.RequestContext(request_id="r", tenant=tenant)


def answer(text="Paris", tags=(), model="m", version="v"):
    return pb.CachedAnswer(
        model=model,
        version=version,
        choices=[generation.Choice(text=text, reason=generation.FINISH_REASON_STOP)],
        usage=generation.Usage(prompt_tokens=3, completion_tokens=1),
        tags=tags,
    )


async def store(service, text="Paris", tenant="default", key=KEY, ttl=None, tags=(), **more):
    request = pb.StoreRequest(context=who(tenant), key=key, answer=answer(text, tags), **more)
    if ttl is not None:
        request.ttl.CopyFrom(duration(ttl))
    return await service.Store(request, None)


async def lookup(service, tenant="default", key=KEY, session=""):
    request = pb.LookupRequest(context=who(tenant), key=key, session=session)
    return await service.Lookup(request, None)


async def late(service, tenant="default", key=b"", question=b""):
    """Look for an answer that may have expired."""
    request = pb.LookupRequest(context=who(tenant), key=key, stale=True, question=question)
    return await service.Lookup(request, None)
