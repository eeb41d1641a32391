"""gRPC's side of TLS: what a port is secured by."""

from __future__ import annotations

import grpc

from llmrouter.common import MIN_TLS_IS_SET
from llmrouter.common.settings import ConfigError
from llmrouter.common.tls import CredentialFiles, Credentials, ServerTls

__all__ = ["server_credentials"]


def server_credentials(place: str, settings: ServerTls) -> grpc.ServerCredentials:
    """Return what secures a port; every handshake is made with the certificates of its moment.

    Raises:
        ConfigError: A file cannot be used, naming its setting; or TLS 1.3 cannot be insisted on.
    """
    if not MIN_TLS_IS_SET:
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
