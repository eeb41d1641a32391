"""Profiles through the gateway: of itself and of the services behind it, for those who may."""

from __future__ import annotations

from typing import Any

from grpc import aio

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import invalid
from llmrouter.common.overview import places_in
from llmrouter.common.profile_servicer import ACCEPTED, decode_wish, encode_profile
from llmrouter.common.profiling.profiler import Profiler
from llmrouter.common.wire import duration
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.gateway.clients import SelectorClient
from llmrouter.gateway.identity.authentication import Auditor, Call, Identity
from llmrouter.gateway.identity.principal import Scope
from llmrouter.gateway.servicer import certificate_names
from llmrouter.gateway.settings import GatewaySettings
from llmrouter.v1 import profile_pb2 as pb
from llmrouter.v1.profile_pb2_grpc import ProfileServiceServicer, ProfileServiceStub

__all__ = ["GuardedProfiler"]

_MARGIN_SECONDS = 10.0
"""What a service may take beyond the recording itself."""


class GuardedProfiler(ProfileServiceServicer):
    """Asks who calls, writes it down, and records or passes the wish on.

    Args:
        settings: The gateway's settings.
        dialler: Reaches the other services.
        selector: Knows where the inference services are.
        identity: Says who asks.
        audit: Is told of every profile.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        dialler: Dialler,
        selector: SelectorClient,
        identity: Identity,
        audit: Auditor,
    ) -> None:
        self._settings, self._dialler, self._selector = settings, dialler, selector
        self._identity, self._audit = identity, audit
        self._own = Profiler("gateway")

    async def Profile(  # noqa: N802 - the RPC's name
        self, request: pb.ProfileRequest, context: Any
    ) -> pb.ProfileResponse:
        """Record this gateway or another service for a while."""
        call = Call(context.invocation_metadata(), context.peer(), "", certificate_names(context))
        who = self._identity.admit(call, Scope.ADMIN)
        seconds, per_second = decode_wish(request)
        service = request.service or "gateway"
        address = "" if service == "gateway" else await self._address(service)
        told = {"service": service, "seconds": seconds, "credential": who.credential}
        self._audit.tell("profile", **told, peer=call.peer)
        await context.send_initial_metadata((ACCEPTED,))
        if not address:
            return encode_profile(await self._own.record(seconds, per_second))
        wish = pb.ProfileRequest(duration=duration(seconds), samples_per_second=per_second)
        stub = ProfileServiceStub(self._dialler.passing(address))
        try:
            answer: pb.ProfileResponse = await stub.Profile(wish, timeout=seconds + _MARGIN_SECONDS)
        except aio.AioRpcError as error:
            raise from_rpc_error(error, f"the service at {address}") from error
        return answer

    async def _address(self, service: str) -> str:
        """Return where a service is, by its name or by its very address.

        Raises:
            RouterError: INVALID_ARGUMENT for one that is not of this suite.
        """
        settings = self._settings
        fixed = {"selector": settings.selector_address, "cache": settings.cache_address}
        if service in fixed:
            return fixed[service]
        nodes = places_in(await self._selector.list_catalog())
        if service in nodes:
            return service
        if service == "inference" and len(nodes) == 1:
            return nodes[0]
        single = ("inference",) if len(nodes) == 1 else ()
        known = ", ".join(("gateway", "selector", "cache", *single, *nodes))
        raise invalid("service", f"is {service[:64]!r}; it must be one of {known}")
