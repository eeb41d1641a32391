"""API keys: made, verified, rotated and revoked. Pure; what is kept of a key is a keyed hash.

A key is `llmr_<id>_<secret>`: the id, 12 hexadecimal digits, finds its record and may stand in
logs; the secret, 256 random bits in base64url, is known to its holder alone. The record has the
HMAC-SHA-256 of the whole key under a secret of the gateway, so that a stolen store opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.identity.principal import CALLER_SCOPES, Principal, Scope

__all__ = ["ApiKey", "authenticate", "is_api_key", "make", "revoke", "rotate"]

_PREFIX = "llmr_"
_FORM = re.compile(r"llmr_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_ID_BYTES, _SECRET_BYTES = 6, 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of one key. Times are seconds since the epoch."""

    id: str
    name: str
    """For people."""
    digest: bytes
    created: float
    tenant: str = "default"
    user: str = ""
    scopes: frozenset[Scope] = CALLER_SCOPES
    models: frozenset[str] = frozenset()
    """As `Principal.models`."""
    expires: float | None = None
    revoked: float | None = None
    old_digest: bytes = b""
    """Of the key before the last rotation; it is good until `old_until`."""
    old_until: float = 0.0

    def principal(self) -> Principal:
        """Return who its holder is."""
        return Principal(self.tenant, self.user, self.scopes, self.models, f"key {self.id}")

    def state(self, now: float) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "active"


def make(secret: bytes, template: ApiKey) -> tuple[ApiKey, str]:
    """Return a new key as `template` says, and the only copy of its text.

    Args:
        secret: The gateway's secret.
        template: What it allows; its id and digest are replaced.
    """
    identifier = secrets.token_hex(_ID_BYTES)
    text = _text(identifier)
    return replace(template, id=identifier, digest=_digest(secret, text)), text


def rotate(key: ApiKey, secret: bytes, now: float, grace: float) -> tuple[ApiKey, str]:
    """Return the key with a new secret, and its text; the old text is good for `grace` seconds.

    Raises:
        ValueError: The key is revoked, and stays so.
    """
    if key.revoked is not None:
        raise ValueError(f"key {key.id} is revoked; create another one")
    text = _text(key.id)
    renewed = replace(
        key, digest=_digest(secret, text), old_digest=key.digest, old_until=now + grace
    )
    return renewed, text


def revoke(key: ApiKey, now: float) -> ApiKey:
    """Return the key revoked; it stays so, and the first time stands."""
    return key if key.revoked is not None else replace(key, revoked=now, old_digest=b"")


def is_api_key(credential: str) -> bool:
    """Whether a credential is meant to be one of ours."""
    return credential.startswith(_PREFIX)


def authenticate(
    text: str, find: Callable[[str], ApiKey | None], secret: bytes, now: float
) -> Principal:
    """Return who holds a key.

    Args:
        text: What the caller sent.
        find: Returns the record of an id.
        secret: The gateway's secret.
        now: Seconds since the epoch.

    Raises:
        RouterError: UNAUTHENTICATED; that a key is expired or revoked is told its holder only.
    """
    form = _FORM.fullmatch(text)
    key = find(form[1]) if form is not None else None
    if key is None or not _matches(key, _digest(secret, text), now):
        message = "the API key is not known; check it, or have one created by `llmrouter keys`"
        raise RouterError(Reason.UNAUTHENTICATED, message)
    state = key.state(now)
    if state != "active":
        message = f"the API key {key.id} is {state}; ask for another one"
        raise RouterError(Reason.UNAUTHENTICATED, message, metadata={"key": key.id})
    return key.principal()


def _matches(key: ApiKey, digest: bytes, now: float) -> bool:
    if hmac.compare_digest(key.digest, digest):
        return True
    return now < key.old_until and hmac.compare_digest(key.old_digest, digest)


def _text(identifier: str) -> str:
    return f"{_PREFIX}{identifier}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def _digest(secret: bytes, text: str) -> bytes:
    return hmac.digest(secret, text.encode(), hashlib.sha256)
