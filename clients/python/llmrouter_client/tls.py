"""How a gateway is reached over TLS."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import grpc

from llmrouter_client.arguments import refused

__all__ = ["Tls"]


@dataclass(frozen=True, slots=True)
class Tls:
    """Files, PEM each, that are read when the client is made."""

    ca_file: str | os.PathLike[str] | None = None
    """CAs by which the gateway's certificate is judged; None takes gRPC's own list."""
    certificate_file: str | os.PathLike[str] | None = None
    """Certificate to show to a gateway that asks for one."""
    key_file: str | os.PathLike[str] | None = None
    """Private key of that certificate, unencrypted."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what a channel is made with.

        Raises:
            LlmrouterError: INVALID_ARGUMENT naming the file that cannot be used.
        """
        if (self.certificate_file is None) != (self.key_file is None):
            raise refused("tls", "needs both certificate_file and key_file, or neither")
        return grpc.ssl_channel_credentials(
            _contents("tls.ca_file", self.ca_file),
            _contents("tls.key_file", self.key_file),
            _contents("tls.certificate_file", self.certificate_file),
        )


def _contents(name: str, path: str | os.PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    try:
        held = Path(path).read_bytes()
    except OSError as error:
        raise refused(name, f"is {str(path)!r}, which cannot be read: {error.strerror}") from None
    if b"-----BEGIN" not in held:
        raise refused(name, f"is {str(path)!r}, which is no PEM file")
    return held
