"""Certificates for tests, made as they are needed."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as files."""

    certificate: Path
    key: Path


class Authority:
    """A CA that signs what it is asked to.

    Args:
        folder: Where files are written; they are replaced at once, as renewed ones are.
        name: Tells one from another.
    """

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = self._signed(self._name, self._key.public_key(), ca=True)
        self.file = self._write(f"{name}.pem", signed.public_bytes(serialization.Encoding.PEM))

    def issue(self, name="service", *, days=(-1, 1)):
        """Return a pair for this machine's loopback, valid from and to so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = self._signed(subject, key.public_key(), days=days)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Pair(
            self._write(f"{name}.crt", signed.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", private),
        )

    def _signed(self, subject, public, *, days=(-1, 1), ca=False):
        now = dt.datetime.now(dt.UTC)
        begins, ends = (now + dt.timedelta(days=count) for count in days)
        made = x509.CertificateBuilder(self._name, subject, public, x509.random_serial_number())
        made = made.not_valid_before(begins).not_valid_after(ends)
        made = made.add_extension(x509.BasicConstraints(ca, None), critical=True)
        if not ca:
            loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            names = x509.SubjectAlternativeName([x509.DNSName("localhost"), loopback])
            made = made.add_extension(names, critical=False)
        return made.sign(self._key, hashes.SHA256())

    def _write(self, name, held):
        path = self.folder / name
        beside = path.with_suffix(".new")
        beside.write_bytes(held)
        return beside.replace(path)
