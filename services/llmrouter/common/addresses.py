"""Addresses of services, `host:port` each, as settings and the command line give them."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["Address", "address_of", "check_address", "is_name", "reachable"]

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s:/@\[\]]+):([0-9]{1,5})")
_LISTENS_EVERYWHERE = {
    "0.0.0.0": "127.0.0.1",  # noqa: S104 - looked for, not listened on
    "::": "::1",
    "": "127.0.0.1",
}


def check_address(text: str) -> str:
    """Return `text` if it is `host:port`, an IPv6 host in brackets.

    Raises:
        ValueError: Saying what is needed.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= 65535:
        raise ValueError("must be host:port with a port of 1 to 65535, as in 127.0.0.1:50051")
    return text


Address = Annotated[str, AfterValidator(check_address)]
"""A setting that says where a service is dialled."""


def address_of(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def is_name(address: str) -> bool:
    """Whether the host of a `host:port` has to be looked up."""
    host = address.rpartition(":")[0]
    if ":" in host:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def reachable(host: str) -> str:
    """Return where a service that listens on `host` is reached from its own machine."""
    bare = host.strip("[]")
    return _LISTENS_EVERYWHERE.get(bare, bare)
