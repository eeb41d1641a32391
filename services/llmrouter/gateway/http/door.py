"""The HTTP server: uvicorn inside the gateway's own loop, with bounds that it does not have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llmrouter.common.addresses import address_of
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.server import why_unbound
from llmrouter.common.settings import ConfigError
from llmrouter.common.tls import CredentialFiles, server_context
from llmrouter.gateway.http.calls import CERTIFICATE_NAMES
from llmrouter.gateway.http.crowd import Crowd
from llmrouter.gateway.http.errors import error_body
from llmrouter.gateway.settings import GatewaySettings

__all__ = ["HttpDoor"]

# What callers do wrong is told to them, not to the log.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

_BACKLOG = 2048
_MAX_HEADER_BYTES = 64 << 10
_KEEP_ALIVE_SECONDS = 75
_CLOSE_SECONDS = 5.0
_FLUSH_SECONDS = 0.5
"""How long the last bytes of answers may take to leave."""


class HttpDoor:
    """The HTTP API on its port.

    Args:
        app: The endpoints.
        settings: The gateway's settings.

    Raises:
        ConfigError: The files of its TLS cannot be used.
    """

    def __init__(self, app: ASGIApp, settings: GatewaySettings) -> None:
        self._settings = settings
        self._sockets: list[socket.socket] = []
        self._serving: asyncio.Task[None] | None = None
        protocol: Any = partial(_BoundedProtocol, Crowd(settings.http_connections))
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            # Of all connections: those that say nothing have made room before.
            limit_concurrency=settings.http_connections + 1,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
        )
        config.load()
        if settings.tls is not None:  # uvicorn itself would read the files once
            config.ssl = server_context(CredentialFiles("gateway.tls", settings.tls))
        self._server = _Server(config)

    async def bind(self) -> str:
        """Take the port and return `host:port`.

        Raises:
            ConfigError: It cannot be listened on.
        """
        host, port = self._settings.host, self._settings.http_port or 0
        try:
            found = socket.getaddrinfo(
                host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, address = found[0]
            listening = socket.socket(family, kind, protocol)
            self._sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except (OSError, UnicodeError):
            self._close_sockets()
            why = why_unbound("gateway", host, port, "http_port")
            told = f"gateway cannot listen on {address_of(host, port)} for HTTP: {why}"
            raise ConfigError(told) from None
        return address_of(host, listening.getsockname()[1])

    async def open(self) -> None:
        """Serve."""
        self._serving = asyncio.create_task(self._server.serve(self._sockets))
        while not (self._server.started or self._serving.done()):  # noqa: ASYNC110 - all it tells
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Let go of the connections that are left, and end what is being answered on them."""
        if self._serving is not None:
            self._server.should_exit = True
            self._server.force_exit = True  # whoever was served has been waited for
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._serving, _CLOSE_SECONDS)
            await self._server.hang_up()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for one in self._sockets:
            one.close()
        self._sockets.clear()


def _names(certificate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the names in a certificate that was verified, as `ssl` gives it."""
    told = certificate or {}
    subject = (one for part in told.get("subject", ()) for one in part)
    common = (value for kind, value in subject if kind == "commonName")
    others = (value for _, value in told.get("subjectAltName", ()))
    return (*common, *others)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def hang_up(self) -> None:
        """End every call, as its caller's leaving would, and then every connection."""
        connections: set[Any] = self.server_state.connections
        tasks = set(self.server_state.tasks)
        if tasks:
            _abort(one for one in connections if one.cycle and not one.cycle.response_complete)
            _, tasks = await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)
        for task in tasks:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                while connections:  # noqa: ASYNC110 - all it tells
                    await asyncio.sleep(0.01)
        _abort(connections)


def _abort(connections: Iterable[Any]) -> None:
    for one in list(connections):
        one.transport.abort()


class _BoundedProtocol(HttpToolsProtocol):
    """One connection; it may not be silent for long, nor send headers without end."""

    _silence: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _names: tuple[str, ...] = ()

    def __init__(self, crowd: Crowd, **given: Any) -> None:
        super().__init__(**given)
        self._crowd = crowd

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        self._names = _names(secured.getpeercert()) if secured is not None else ()
        self._silence = self.loop.call_later(_KEEP_ALIVE_SECONDS, transport.close)
        self._crowd.came(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._heard()
        self._crowd.left(self)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Count the headers of a request, and begin to wait for their end."""
        self._header_bytes = 0
        if self._silence is None:
            self._silence = self.loop.call_later(_KEEP_ALIVE_SECONDS, self.transport.close)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the address in."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header in."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop waiting: from here on the request has its own deadline."""
        self._heard()
        self._crowd.asked(self)
        self.scope["state"][CERTIFICATE_NAMES] = self._names
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, unless it is here."""
        super().on_response_complete()
        if self.cycle is None or self.cycle.response_complete:
            self._crowd.answered(self)

    def let_go(self) -> None:
        """Close the connection, on which nothing is being answered."""
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Tell what is no HTTP in the form of all errors, and hang up."""
        wrong = RouterError(Reason.INVALID_ARGUMENT, msg)
        body = json.dumps(error_body(wrong)).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _heard(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise httptools.HttpParserError("headers are too large")
