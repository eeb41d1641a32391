"""What every service can be told about its port, besides host and number."""

from __future__ import annotations

from pydantic import Field

from llmrouter.common.settings import Section
from llmrouter.common.tls import ClientTls, ServerTls

__all__ = ["Dialling", "Listening"]

_PATIENCE_SECONDS = 300.0


class Listening(Section):
    """Settings that all four services share; each section of the file has them."""

    tls: ServerTls | None = None
    """Certificate that callers are shown (`certificate_file`, `key_file`), and the CAs of callers
    who must show theirs (`client_ca_file`), PEM files each; absent speaks without TLS. At least TLS
    1.3; renewed files are taken up without a restart."""
    health_port: int | None = Field(default=None, ge=1, le=65535)
    """Port that answers grpc.health.v1 and nothing else, without TLS, for probes; absent opens
    none. The service's own port answers it too."""
    connection_age_seconds: float = Field(default=300, ge=1, le=86_400)
    """Age at which a connection is closed once its calls have finished, so that callers look their
    addresses up again and find new replicas; streams of health and reflection, which need no
    credential, end at that age."""
    connections: int = Field(default=4096, ge=1, le=1 << 20)
    """Connections over gRPC at most; those beyond are closed at once. One whose caller has not
    begun to speak HTTP/2 within ten seconds is closed, too."""
    compress_from_bytes: int | None = Field(default=1024, ge=0, le=8 << 20)
    """Answers, and parts of them, of at least so many bytes are compressed for callers over gRPC
    who ask for it; `null` compresses nothing."""

    def patience(self, left: float | None) -> float:
        """Return how many seconds a message may wait until its reader has room for it.

        Args:
            left: Seconds left of the call's deadline; None for a call without one.
        """
        return _PATIENCE_SECONDS if left is None else left


class Dialling(Section):
    """Settings of the services that call others."""

    dial_tls: ClientTls | None = None
    """CAs of the services called (`ca_file`), and the certificate to show them (`certificate_file`,
    `key_file`), PEM files each; absent calls them without TLS. Renewed files are taken up without a
    restart."""
