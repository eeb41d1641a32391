"""An identity provider for tests: keys of every kind, its key set, and tokens signed by them."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from llmrouter.gateway.identity.settings import JwtSettings

ISSUER, AUDIENCE = "https://id.example", "llmrouter"
PRIVATE: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
_WRITERS = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def jwk(algorithm: str, kid: str | None = None) -> dict[str, Any]:
    """Return the public part of a key as it stands in the key set."""
    public = PRIVATE[algorithm].public_key()
    made = json.loads(_WRITERS[algorithm].to_jwk(public))
    return {**made, "kid": kid or algorithm, "alg": algorithm, "use": "sig"}


def jwks(*algorithms: str) -> dict[str, Any]:
    return {"keys": [jwk(one) for one in algorithms or PRIVATE]}


def token(
    algorithm: str = "ES256", *, kid: str | None = None, lacks: str = "", **claims: Any
) -> str:
    """Return a token that is good for an hour, but for what is said."""
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 86_400, **claims}
    given.pop(lacks, None)
    headers = {"kid": kid or algorithm}
    return jwt.encode(given, PRIVATE[algorithm], algorithm=algorithm, headers=headers)


def settings(**values: Any) -> JwtSettings:
    return JwtSettings(jwks="keys.json", issuer=ISSUER, audience=AUDIENCE, **values)
