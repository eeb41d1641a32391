"""JSON Web Tokens of an identity provider: verified, and read as a principal. Pure but for time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt

from llmrouter.common.errors import unauthenticated
from llmrouter.gateway.identity.principal import CALLER_SCOPES, Principal, Scope
from llmrouter.gateway.identity.settings import JwtSettings

__all__ = ["ALGORITHMS", "TokenVerifier", "read_jwks"]

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Those with a public key: nobody but the provider can sign."""
_MAX_KEYS = 64
_MAX_MODELS = 256


def read_jwks(data: object) -> dict[str, jwt.PyJWK]:
    """Return the usable keys of a JSON Web Key Set by their id; others are left out.

    Raises:
        ValueError: It is no key set, holds too many keys, or none of use.
    """
    entries = data.get("keys") if isinstance(data, Mapping) else None
    if not isinstance(entries, list) or len(entries) > _MAX_KEYS:
        raise ValueError(f"it is no JSON Web Key Set of at most {_MAX_KEYS} keys")
    found = {}
    for entry in entries:
        key = _read_key(entry)
        if key is not None:
            found[str(entry.get("kid", ""))] = key
    if not found:
        raise ValueError("it holds no key for signatures that has a public part")
    return found


def _read_key(entry: Any) -> jwt.PyJWK | None:
    if not isinstance(entry, Mapping) or entry.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(dict(entry))
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if key.algorithm_name in ALGORITHMS else None


class TokenVerifier:
    """Says whose token it is.

    Args:
        find: Returns the key of this id, or of the set's only one for an empty id.
        settings: Issuer, audience and the names of claims.
    """

    def __init__(self, find: Callable[[str], jwt.PyJWK | None], settings: JwtSettings) -> None:
        self._find, self._settings = find, settings

    def principal(self, token: str) -> Principal:
        """Return who brings it.

        Raises:
            RouterError: UNAUTHENTICATED, with what is wrong.
        """
        try:
            claims = self._claims(token)
        except jwt.PyJWTError as error:
            raise unauthenticated(f"the token cannot be accepted: {_why(error)}") from None
        settings = self._settings
        tenant = "default" if settings.tenant_claim is None else claims.get(settings.tenant_claim)
        user = claims.get(settings.user_claim)
        for claim, value in ((settings.tenant_claim, tenant), (settings.user_claim, user)):
            if not isinstance(value, str) or not 1 <= len(value.encode()) <= 128:
                raise unauthenticated(f"the token's claim '{claim}' must be text of 1 to 128 bytes")
        return Principal(
            str(tenant), str(user), self._scopes(claims), self._models(claims), f"token of {user}"
        )

    def _claims(self, token: str) -> dict[str, Any]:
        kid = jwt.get_unverified_header(token).get("kid", "")
        key = self._find(kid if isinstance(kid, str) else "")
        if key is None:
            raise jwt.InvalidTokenError("it is signed by a key that is not known")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=self._settings.audience,
            issuer=self._settings.issuer,
            leeway=self._settings.leeway_seconds,
            options={"require": ["exp", "iss", "aud", self._settings.user_claim]},
        )
        return claims

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        if self._settings.scope_claim is None:
            return CALLER_SCOPES
        named = _names(claims.get(self._settings.scope_claim))
        return frozenset(one for one in Scope if f"{self._settings.scope_prefix}{one}" in named)

    def _models(self, claims: Mapping[str, Any]) -> frozenset[str]:
        if self._settings.models_claim is None:
            return frozenset()
        claim = self._settings.models_claim
        named = frozenset(_names(claims.get(claim)))
        if not named or len(named) > _MAX_MODELS:
            # Nothing must not mean all.
            raise unauthenticated(
                f"the token's claim '{claim}' must name 1 to {_MAX_MODELS} models"
            )
        return named


def _names(claim: object) -> Sequence[str]:
    """Return the names in a claim: a list, or text with blanks between (RFC 8693, 4.2)."""
    if isinstance(claim, str):
        return claim.split()
    return [one for one in claim if isinstance(one, str)] if isinstance(claim, list) else []


def _why(error: jwt.PyJWTError) -> str:
    if isinstance(error, jwt.ExpiredSignatureError):
        return "it has expired"
    return " ".join(str(error).split())[:200]
