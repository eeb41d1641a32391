"""Where keys and audit log are, for the gateway and for those who administer it."""

from __future__ import annotations

from pathlib import Path

from llmrouter.gateway.identity.audit import AuditFile
from llmrouter.gateway.identity.key_store import KeyStore
from llmrouter.gateway.identity.settings import IdentitySettings

__all__ = ["audit_file", "key_store"]


def key_store(settings: IdentitySettings, data: Path) -> KeyStore:
    """Return the store of the keys; `data` is the data directory."""
    return KeyStore(settings.key_store or data / "keys.sqlite", settings.hash_secret_file)


def audit_file(settings: IdentitySettings, data: Path) -> AuditFile:
    """Return the audit log; `data` is the data directory."""
    return AuditFile(settings.audit_file or data / "audit.jsonl", settings.audit_max_bytes)
