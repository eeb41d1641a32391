"""Calls to the gateway, whose failures are told with what the command line can do about them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmrouter.cli.places import Place
from llmrouter_client import AsyncClient, LlmrouterError
from llmrouter_client.handshake import handshake_failure

__all__ = ["asking"]


@asynccontextmanager
async def asking(gateway: Place) -> AsyncIterator[AsyncClient]:
    """Give a client; that nothing answers is told with where the address is from."""
    async with AsyncClient(gateway.address, tls=gateway.tls) as client:
        try:
            yield client
        except LlmrouterError as error:
            # A gateway that answers may say the same of a service behind it.
            if error.reason != "UPSTREAM_UNAVAILABLE" or not error.transport:
                raise
            if handshake_failure(gateway.address, error.metadata.get("detail", "")):
                raise  # somebody is there, and the sentence says what is wrong
            raise LlmrouterError(error.reason, gateway.silence, code=error.code) from None
