"""gRPC's side of TLS: what a port is secured by, and channels that outlive their certificates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio

from llmrouter.common import LEAST_TLS_IS_SET
from llmrouter.common.settings import ConfigError
from llmrouter.common.tls import CredentialFiles, Credentials, ServerTls

__all__ = ["RenewingChannel", "server_credentials"]


def server_credentials(place: str, settings: ServerTls) -> grpc.ServerCredentials:
    """Return what secures a port; every handshake is made with the certificates of its moment.

    Raises:
        ConfigError: A file cannot be used, naming its setting; or TLS 1.3 cannot be insisted on.
    """
    if not LEAST_TLS_IS_SET:
        raise ConfigError(
            f"{place}: gRPC was loaded before llmrouter, and may speak TLS below 1.3; import "
            "llmrouter.common first"
        )
    files = CredentialFiles(place, settings)
    shown = files.current()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        current = files.current()
        if current is shown:
            return None
        shown = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown),
        renewed,  # type: ignore[arg-type]  # None keeps what is shown, whatever the stubs say
        require_client_authentication=shown.ca is not None,
    )


def _configuration(held: Credentials) -> grpc.ServerCertificateConfiguration:
    pair = (held.key or b"", held.certificate or b"")  # the settings of a service have both
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=held.ca)


class RenewingChannel:
    """A channel over TLS, to the stubs a `grpc.aio.Channel`, that goes on with new certificates.

    Calls that run when they are renewed finish on the connection they began on.

    Args:
        address: `host:port` to dial.
        files: What is shown and believed.
        options: Those of a channel.
    """

    def __init__(
        self, address: str, files: CredentialFiles, options: tuple[tuple[str, Any], ...]
    ) -> None:
        self._address = address
        self._files = files
        self._options = options
        self._held: Credentials | None = None
        self._channel: aio.Channel | None = None

    def unary_unary(self, *method: Any, **more: Any) -> Callable[..., Any]:
        """Return what makes a call with one answer, as of `grpc.aio.Channel`."""
        return self._made(lambda channel: channel.unary_unary(*method, **more))

    def unary_stream(self, *method: Any, **more: Any) -> Callable[..., Any]:
        """Return what makes a call with a stream of answers, as of `grpc.aio.Channel`."""
        return self._made(lambda channel: channel.unary_stream(*method, **more))

    async def close(self, grace: float | None = None) -> None:
        """Close the connection of the moment; see `grpc.aio.Channel.close`."""
        if self._channel is not None:
            await self._channel.close(grace)

    def _made(self, make: Callable[[aio.Channel], Callable[..., Any]]) -> Callable[..., Any]:
        on: aio.Channel | None = None
        calling: Callable[..., Any] | None = None

        def call(*request: Any, **more: Any) -> Any:
            nonlocal on, calling
            channel = self._current()
            if calling is None or channel is not on:
                on, calling = channel, make(channel)
            return calling(*request, **more)

        return call

    def _current(self) -> aio.Channel:
        held = self._files.current()
        if self._channel is None or held is not self._held:
            self._held = held
            # The one before is let go, not closed: gRPC ends it with the last of its calls.
            self._channel = aio.secure_channel(
                self._address,
                grpc.ssl_channel_credentials(held.ca, held.key, held.certificate),
                options=self._options,
            )
        return self._channel
