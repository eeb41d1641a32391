"""One HTTP call: its body read within bounds, its answer sent, its end noticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, TypeVar

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.http.errors import BodyTooLargeError

__all__ = [
    "CERTIFICATE_NAMES",
    "ClientLeftError",
    "EventStream",
    "ServerEvents",
    "json_response",
    "read_body",
    "while_connected",
]

ResultT = TypeVar("ResultT")
CERTIFICATE_NAMES = "llmrouter.certificate_names"
"""Where the state of a request has the names of the certificate that its caller showed."""
_DONE = b"data: [DONE]\n\n"


class ClientLeftError(Exception):
    """The caller closed its connection: nobody is left to be answered."""


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: The request, its body not read yet.
        most: Bytes it may have.
        seconds: How long it may take to come.

    Raises:
        BodyTooLargeError: It is larger.
        RouterError: DEADLINE_EXCEEDED, it takes longer.
        ClientLeftError: The connection ended before it.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeftError
                body += message.get("body", b"")
                if len(body) > most:
                    raise BodyTooLargeError(most)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        told = f"the body did not come within {seconds:g} s"
        raise RouterError(Reason.DEADLINE_EXCEEDED, told) from None


async def while_connected(receive: Receive, work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return what `work` does; it is cancelled as soon as the caller goes away.

    Raises:
        ClientLeftError: The caller has gone.
    """
    working = asyncio.current_task()
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        if working is not None:
            working.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        return await work
    except BaseException:
        if left and working is not None and not working.uncancel():
            raise ClientLeftError from None
        raise
    finally:
        watching.cancel()


def json_response(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a body of JSON."""
    return Response(to_json(content), status, headers, "application/json")


class ServerEvents(Response):
    """Server-sent events, as they come: those who have them say in `_send` how they are sent.

    Args:
        headers: What else the answer's head says.
    """

    media_type = "text/event-stream"

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.status_code = 200
        self.background = None
        # Proxies that gather a body before they pass it on would undo the streaming.
        self.init_headers({"x-accel-buffering": "no", **headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send every event; end at once when the caller goes away."""
        del scope
        with contextlib.suppress(ClientLeftError):
            await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        """Send the head, every event, and the end."""
        raise NotImplementedError

    async def _send_head(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})


class EventStream(ServerEvents):
    """Server-sent events, each a JSON object.

    `[DONE]` follows the last, as OpenAI ends streams, unless that is an error. Closes its iterator
    however it ends.
    """

    def __init__(self, chunks: AsyncIterator[dict[str, Any]], headers: Mapping[str, str]) -> None:
        super().__init__({"cache-control": "no-cache", **headers})
        self._chunks = chunks

    async def _send(self, send: Send) -> None:
        failed = False
        async with closing_stream(self._chunks) as chunks:
            await self._send_head(send)
            async for chunk in chunks:
                failed = "error" in chunk
                piece = b"data: " + to_json(chunk) + b"\n\n"
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        last = b"" if failed else _DONE
        await send({"type": "http.response.body", "body": last, "more_body": False})
