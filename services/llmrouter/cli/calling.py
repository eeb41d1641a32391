"""Calls to the services behind the gateway, for commands that look inside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from grpc import StatusCode, aio

from llmrouter.cli.places import Place
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.v1 import generation_pb2
from llmrouter_client.handshake import handshake_failure

__all__ = ["CONTEXT", "TIMEOUT_SECONDS", "dialled", "plain"]

TIMEOUT_SECONDS = 10.0
CONTEXT = generation_pb2.RequestContext(request_id="cli", tenant="default")


@asynccontextmanager
async def dialled(place: Place) -> AsyncIterator[aio.Channel]:
    """Open a channel; errors of calls in the block become RouterError sentences."""
    address, service = place.address, place.service
    async with _channel(place) as channel:
        try:
            yield channel
        except aio.AioRpcError as error:
            known = from_rpc_error(error, f"the {service} at {address}")
            if error.code() == StatusCode.UNIMPLEMENTED:
                sentence = f"{address} is not a {service}; name the {service}'s own address"
                known = RouterError(Reason.UPSTREAM_UNAVAILABLE, sentence)
            if error.code() == StatusCode.UNAVAILABLE and "connect" in (error.details() or ""):
                sentence = handshake_failure(address, error.details() or "") or place.silence
                known = RouterError(Reason.UPSTREAM_UNAVAILABLE, sentence)
            raise known from None


def _channel(place: Place) -> aio.Channel:
    options = (("grpc.enable_http_proxy", 0),)  # the services behind the gateway are near
    if place.tls is None:
        return aio.insecure_channel(place.address, options=options)
    return aio.secure_channel(place.address, place.tls.credentials(), options=options)


def plain(message: Message) -> dict[str, Any]:
    """Return a message as plain data with the protos' own field names."""
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
