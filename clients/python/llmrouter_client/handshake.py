"""What gRPC says of a TLS handshake that failed, in our own words."""

from __future__ import annotations

import re

__all__ = ["handshake_failure"]

_UNBELIEVED = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([^:]+)")


def handshake_failure(address: str, details: str) -> str | None:
    """Return what a failed connection says of TLS, as a sentence; None where it says nothing.

    Args:
        address: `host:port` that was dialled.
        details: gRPC's own words.
    """
    unbelieved = _UNBELIEVED.search(details)
    if unbelieved is not None:
        return f"the certificate of {address} is not believed: {unbelieved[1].strip()}"
    if "handshake failed" in details:
        return f"{address} does not speak TLS as it was asked to"
    if "failed to connect" in details and "Socket closed" in details:
        return (
            f"{address} ended the connection before any call; does it want TLS or another client "
            "certificate, or hold as many connections as it may (its setting `connections`)?"
        )
    return None
