"""What clients of a Redis or Valkey server are made with: loaded only where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.redis_server import RedisSettings

__all__ = ["connection_options"]


def connection_options(settings: RedisSettings, field: str) -> dict[str, Any]:
    """Return what clients of the library are made with; they do not try again by themselves.

    Args:
        settings: Of the server.
        field: Where they stand, as `cache.shared`.

    Raises:
        RouterError: STORE_FAILED when a file that they name cannot be read.
    """
    try:
        return _options(settings)
    except OSError as error:
        message = f"{field} cannot be used: {error}"
        raise RouterError(Reason.STORE_FAILED, message) from error


def _options(settings: RedisSettings) -> dict[str, Any]:
    host, _, port = settings.address.rpartition(":")
    options: dict[str, Any] = {
        "host": host.strip("[]"),
        "port": int(port),
        "username": settings.user or None,
        "password": settings.read_password(),
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    if settings.tls:
        options["ssl"] = True
        options["ssl_ca_certs"] = _readable(settings.ca_file)
        options["ssl_certfile"] = _readable(settings.certificate_file)
        options["ssl_keyfile"] = _readable(settings.key_file)
    return options


def _readable(file: Path | None) -> str | None:
    """Return the path of a file that can be read; without one the system's own are meant."""
    if file is None:
        return None
    with file.open("rb"):
        return str(file)
