"""The live page over HTTP: its files for everybody, what it shows for who may see it."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llmrouter.common.closing import closing_stream
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import RequestContext
from llmrouter.gateway.http.app import HttpApi
from llmrouter.gateway.http.calls import (
    ClientLeftError,
    ServerEvents,
    json_response,
    while_connected,
)
from llmrouter.gateway.http.errors import error_body
from llmrouter.gateway.identity.principal import OPERATOR
from llmrouter.gateway.identity.principal import Scope as Permission
from llmrouter.gateway.live.live_page import LivePage

__all__ = ["add_live_page"]

_FILES = Path(__file__).parents[1] / "live" / "page"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_STRICT = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_FRESH = {"cache-control": "no-store"}
_PATIENCE_SECONDS = 30.0
"""How long a page may leave a frame unread before it is taken for gone."""


def add_live_page(api: HttpApi, page: LivePage) -> None:
    """Give the HTTP API the page, what it shows, and the explanation of a choice."""
    files = {path.name: _PageFile(path) for path in sorted(_FILES.iterdir())}
    api.add_public("/", files["index.html"])
    for name, file in files.items():
        api.add_public(f"/live/{name}", file)
    shown = _Shown(api, page)
    api.add("/live/events", shown.events, Permission.OBSERVE)
    api.add("/live/choices/{plan_id}", shown.choice, Permission.OBSERVE)


class _PageFile:
    """One file of the page, read once: an ASGI application."""

    def __init__(self, path: Path) -> None:
        self._body = path.read_bytes()
        tag = f'"{hashlib.sha256(self._body).hexdigest()[:24]}"'
        kind = {"content-type": _KINDS[path.suffix]}
        self._headers = {**_STRICT, **kind, "etag": tag, "cache-control": "no-cache"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, unless the browser has it already."""
        known = Request(scope).headers.get("if-none-match")
        if known == self._headers["etag"]:
            await Response(None, 304, self._headers)(scope, receive, send)
        else:
            await Response(self._body, 200, self._headers)(scope, receive, send)


class _Shown:
    """What the page asks for."""

    def __init__(self, api: HttpApi, page: LivePage) -> None:
        self._api, self._page = api, page

    async def events(self, request: Request, context: RequestContext) -> Response:
        """Answer with a stream of frames; who may not watch any more is told, and it ends."""
        _check_host(request)
        if request.method == "HEAD":
            return Response(headers=_FRESH, media_type=ServerEvents.media_type)
        frames = self._page.feed.frames()
        try:
            # What is refused before the first frame has a status of its own.
            first = await while_connected(request.receive, anext(frames))
        except BaseException:
            await frames.aclose()
            raise

        def still_allowed() -> None:
            self._api.admit(request, context, Permission.OBSERVE)

        return _FrameStream(first, frames, still_allowed)

    async def choice(self, request: Request, context: RequestContext) -> Response:
        """Explain a past choice."""
        del context
        _check_host(request)
        told = await self._page.explain(request.path_params["plan_id"])
        return json_response(told, headers=_FRESH)


class _FrameStream(ServerEvents):
    """Frames as server-sent events, until the page goes away or may not see more."""

    def __init__(
        self, first: bytes, frames: AsyncIterator[bytes], still_allowed: Callable[[], None]
    ) -> None:
        super().__init__(_FRESH)
        self._first, self._frames, self._still_allowed = first, frames, still_allowed

    async def _send(self, send: Send) -> None:
        async with closing_stream(self._frames) as frames:
            await self._send_head(send)
            await _send_event(send, self._first)
            try:
                async for frame in frames:
                    self._still_allowed()
                    await _send_event(send, frame)
            except RouterError as error:
                await _send_event(send, to_json(error_body(error)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_event(send: Send, data: bytes) -> None:
    piece = b"data: " + data + b"\n\n"
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError:
        raise ClientLeftError from None


def _check_host(request: Request) -> None:
    """Refuse who needs no key because of where it is, under another name than this machine's.

    A page of strangers whose name is made to lead here would read what the operator may.
    """
    if request.state.who is OPERATOR and not _names_this_machine(request.url.hostname or ""):
        told = "under this name the page needs an API key with the scope 'observe'"
        raise RouterError(Reason.UNAUTHENTICATED, told)


def _names_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
