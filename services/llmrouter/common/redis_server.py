"""A Redis or Valkey server that services share, as the settings name it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from llmrouter.common.addresses import Address
from llmrouter.common.settings import Section

__all__ = ["RedisSettings"]


class RedisSettings(Section):
    """A Redis or Valkey server, and who we are there."""

    address: Address
    """The server, as `host:port`."""
    database: int = Field(default=0, ge=0, le=1023)
    """Number of the database."""
    user: str = Field(default="", max_length=256)
    """Who we are there; empty for the default user."""
    password: SecretStr | None = None
    """Our password, by a variable; in a file name `password_file`."""
    password_file: Path | None = None
    """A file that holds the password alone."""
    tls: bool = False
    """Whether to speak TLS."""
    ca_file: Path | None = None
    """Certificates to trust; without it, those of the system."""
    certificate_file: Path | None = None
    """Our own certificate, where the server asks for one."""
    key_file: Path | None = None
    """The key of our certificate."""
    timeout_seconds: float = Field(default=2.0, gt=0, le=60)
    """Wait for one answer at most."""
    prefix: str = Field(
        default="llmrouter",
        pattern=r"^[\w.-]+$",  # not {1,64}: its automaton takes 7 MiB
        max_length=64,
    )
    """Begins every name there; services with the same one share."""

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
