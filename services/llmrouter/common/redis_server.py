"""A Redis or Valkey server that services share: how it is named in the settings, and reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, model_validator
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from llmrouter.common.addresses import Address
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.settings import Section

__all__ = ["RedisSettings", "connection_options"]


class RedisSettings(Section):
    """A Redis or Valkey server, and who we are there."""

    address: Address = Field(description="The server, as `host:port`.")
    database: int = Field(default=0, ge=0, le=1023, description="Number of the database.")
    user: str = Field(
        default="", max_length=256, description="Who we are there; empty for the default user."
    )
    password: SecretStr | None = Field(
        default=None, description="Our password, by a variable; in a file name `password_file`."
    )
    password_file: Path | None = Field(
        default=None, description="A file that holds the password alone."
    )
    tls: bool = Field(default=False, description="Whether to speak TLS.")
    ca_file: Path | None = Field(
        default=None, description="Certificates to trust; without it, those of the system."
    )
    certificate_file: Path | None = Field(
        default=None, description="Our own certificate, where the server asks for one."
    )
    key_file: Path | None = Field(default=None, description="The key of our certificate.")
    timeout_seconds: float = Field(
        default=2.0, gt=0, le=60, description="Wait for one answer at most."
    )
    prefix: str = Field(
        default="llmrouter",
        pattern=r"^[\w.-]{1,64}$",
        description="Begins every name there; services with the same one share.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file are both given; give one")
        files = (self.ca_file, self.certificate_file, self.key_file)
        if not self.tls and any(file is not None for file in files):
            raise ValueError("ca_file, certificate_file and key_file need tls: true")
        if self.certificate_file is None and self.key_file is not None:
            raise ValueError("key_file needs the certificate_file that it belongs to")
        return self

    def read_password(self) -> str | None:
        """Return the password; None where there is none.

        Raises:
            OSError: Its file cannot be read.
        """
        if self.password_file is not None:
            return self.password_file.read_text(encoding="utf-8").strip()
        return None if self.password is None else self.password.get_secret_value()


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
