"""Calls to the gateway, whose failures are told with what the command line can do about them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from llmrouter.cli.places import Place
from llmrouter.common.settings import given_api_key
from llmrouter.common.validation import validate
from llmrouter.common.wire_request import decode_request
from llmrouter_client import AsyncClient, LlmrouterError, Options
from llmrouter_client.handshake import handshake_failure
from llmrouter_client.requests import Prompt, request_from

__all__ = ["asking", "check", "explaining"]


def check(prompt: Prompt, options: Options) -> None:
    """Check a question as the gateway will: what is wrong with it is wrong where none answers too.

    Raises:
        RouterError: INVALID_ARGUMENT with one violation per wrong field.
    """
    validate(decode_request(request_from(prompt, options)))


@asynccontextmanager
async def asking(gateway: Place) -> AsyncIterator[AsyncClient]:
    """Give a client of all of them; that nothing answers is told with where the address is from."""
    key = given_api_key()
    async with AsyncClient(gateway.addresses, api_key=key, tls=gateway.tls) as client:
        with explaining(gateway):
            yield client


@contextmanager
def explaining(gateway: Place) -> Iterator[None]:
    """Have calls of the block that nothing answers told with where the address is from."""
    try:
        yield
    except LlmrouterError as error:
        # A gateway that answers may say the same of a service behind it.
        if error.reason != "UPSTREAM_UNAVAILABLE" or not error.transport:
            raise
        if handshake_failure(gateway.address, error.metadata.get("detail", "")):
            raise  # somebody is there, and the sentence says what is wrong
        raise LlmrouterError(error.reason, gateway.silence, code=error.code) from None
