"""TLS between services: whose certificates are shown and believed, read again when they change."""

from __future__ import annotations

import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import structlog
from pydantic import model_validator

from llmrouter.common.settings import ConfigError, Section

__all__ = ["ClientTls", "CredentialFiles", "Credentials", "ServerTls", "server_context"]

_MAX_FILE_BYTES = 1 << 20
_LOOK_SECONDS = 1.0
_log = structlog.get_logger("llmrouter.tls")


class ServerTls(Section):
    """What a service shows to its callers, and what it asks of them. At least TLS 1.3."""

    certificate_file: Path
    """PEM file: the service's certificate, then those between it and its CA."""
    key_file: Path
    """PEM file: the private key of the certificate, unencrypted."""
    client_ca_file: Path | None = None
    """PEM file: CAs of callers, who must show a certificate of theirs; absent lets everybody
    call."""


class ClientTls(Section):
    """What a service asks of those that it calls, and what it shows to them."""

    ca_file: Path | None = None
    """PEM file: CAs of the services called; absent takes gRPC's own."""
    certificate_file: Path | None = None
    """PEM file: certificate to show, then those between it and its CA."""
    key_file: Path | None = None
    """PEM file: the private key of the certificate, unencrypted."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("needs both certificate_file and key_file, or neither")
        return self


@dataclass(frozen=True, slots=True)
class Credentials:
    """The contents of the files, PEM; None where none is named."""

    certificate: bytes | None
    key: bytes | None
    ca: bytes | None


class CredentialFiles:
    """Certificate, key and CAs in files that somebody renews.

    Files that are being written, or do not fit each other, change nothing: what was read before
    stays in use, and the log says why. Safe to share between threads.

    Args:
        place: Where the settings name them, for errors.
        settings: The names.
    """

    def __init__(self, place: str, settings: ServerTls | ClientTls) -> None:
        ca = settings.client_ca_file if isinstance(settings, ServerTls) else settings.ca_file
        self._ca_name = "client_ca_file" if isinstance(settings, ServerTls) else "ca_file"
        self._place = place
        self._certificate, self._key, self._ca = settings.certificate_file, settings.key_file, ca
        self._lock = threading.Lock()
        self._marks = self._look()
        self._current = self._read()
        self._looked = time.monotonic()

    def current(self) -> Credentials:
        """Return what the files held when last they were whole; the same object until they change.

        They are looked at once a second at most.
        """
        with self._lock:
            if time.monotonic() - self._looked >= _LOOK_SECONDS:
                self._looked = time.monotonic()
                self._renew()
            return self._current

    def context(self) -> ssl.SSLContext:
        """Return what a socket of a service is secured by, with the certificates of the moment."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self._certificate is not None:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        if self._ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._ca)
        return context

    def _renew(self) -> None:
        marks = self._look()
        if marks == self._marks:
            return
        try:
            read = self._read()
        except ConfigError as error:
            _log.warning("certificates are kept as they were", why=str(error))
            return
        if self._look() == marks:  # else they changed while they were read: look again later
            self._marks, self._current = marks, read
            _log.info("certificates were renewed", settings=self._place)

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what tells one state of the files from another."""
        return tuple(_mark(path) for path in (self._certificate, self._key, self._ca))

    def _read(self) -> Credentials:
        read = Credentials(
            certificate=self._contents("certificate_file", self._certificate),
            key=self._contents("key_file", self._key),
            ca=self._contents(self._ca_name, self._ca),
        )
        self._check_pair()
        self._check_ca()
        return read

    def _contents(self, name: str, path: Path | None) -> bytes | None:
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                held = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"{self._place}.{name}: {path} cannot be read: {error.strerror}"
            ) from None
        if len(held) > _MAX_FILE_BYTES or b"-----BEGIN" not in held:
            raise ConfigError(f"{self._place}.{name}: {path} is no PEM file of at most 1 MiB")
        return held

    def _check_pair(self) -> None:
        if self._certificate is None or self._key is None:
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self._certificate, self._key, password=_no_password
            )
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ConfigError(
                f"{self._place}: {self._key} is not the unencrypted private key of "
                f"{self._certificate} ({_reason(error)})"
            ) from None

    def _check_ca(self) -> None:
        if self._ca is None:
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self._ca)
        except OSError as error:
            raise ConfigError(
                f"{self._place}.{self._ca_name}: {self._ca} holds no certificates "
                f"({_reason(error)})"
            ) from None


class _RenewingContext(ssl.SSLContext):
    """Has every connection secured by what the files then hold, client CAs too."""

    _files: CredentialFiles
    _shown: Credentials | None = None
    _made: ssl.SSLContext

    def wrap_bio(self, *bios: Any, **more: Any) -> ssl.SSLObject:
        """Secure a connection, as asyncio asks for with each."""
        current = self._files.current()
        if current is not self._shown:
            self._made, self._shown = self._files.context(), current
        return self._made.wrap_bio(*bios, **more)


def server_context(files: CredentialFiles) -> ssl.SSLContext:
    """Return what secures a port of asyncio; every handshake shows what it then has to."""
    context = _RenewingContext(ssl.PROTOCOL_TLS_SERVER)
    context._files = files  # noqa: SLF001 - a context takes no arguments of others
    return context


def _no_password() -> str:
    """Keep OpenSSL from asking at the terminal."""
    return ""


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).lower().replace("_", " ")


def _mark(path: Path | None) -> tuple[int, int, int] | None:
    try:
        seen = path.stat() if path is not None else None
    except OSError:
        return None
    return None if seen is None else (seen.st_ino, seen.st_size, seen.st_mtime_ns)
