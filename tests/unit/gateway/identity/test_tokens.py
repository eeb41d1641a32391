"""Tokens: good ones say who asks, and no forged, stale or foreign one is believed."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.identity import provider
from tests.unit.gateway.identity.provider import PRIVATE, jwk, jwks, settings, token

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.identity.principal import CALLER_SCOPES, Scope
from llmrouter.gateway.identity.tokens import TokenVerifier, read_jwks

KEYS = read_jwks(jwks())


def asker(text, **values):
    return TokenVerifier(KEYS.get, settings(**values)).principal(text)


def refusal(text, **values):
    with pytest.raises(RouterError) as refused:
        asker(text, **values)
    assert refused.value.reason is Reason.UNAUTHENTICATED
    assert text not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_token_of_the_provider_says_who_asks(algorithm):
    who = asker(token(algorithm))
    assert (who.tenant, who.user, who.scopes, who.models) == (
        "default",
        "ann",
        CALLER_SCOPES,
        set(),
    )
    assert who.credential == "token of ann"


def test_claims_name_tenant_user_scopes_and_models():
    text = token(
        org="acme", email="a@x", scope="openid router:embed router:nonsense", models=["small"]
    )
    who = asker(
        text,
        tenant_claim="org",
        user_claim="email",
        scope_claim="scope",
        scope_prefix="router:",
        models_claim="models",
    )
    assert (who.tenant, who.user) == ("acme", "a@x")
    assert (who.scopes, who.models) == ({Scope.EMBED}, {"small"})


@pytest.mark.parametrize("claim", [["generate", 5], "generate other"])
def test_scopes_may_be_a_list_or_words(claim):
    assert asker(token(scp=claim), scope_claim="scp").scopes == {Scope.GENERATE}


@pytest.mark.parametrize("claim", [None, 5, [], {"generate": 1}])
def test_a_scope_claim_that_says_nothing_allows_nothing(claim):
    assert asker(token(scp=claim), scope_claim="scp").scopes == frozenset()


@pytest.mark.parametrize("claim", [None, 5, [], "", ["x"] * 2 + list(map(str, range(256)))])
def test_a_models_claim_that_says_nothing_or_too_much_lets_nobody_in(claim):
    assert "must name 1 to 256 models" in refusal(token(m=claim), models_claim="m")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (token(exp=time.time() - 60), "expired"),
        (token(nbf=time.time() + 80_000), "not yet valid"),
        (token(iss="https://evil.example"), "issuer"),
        (token(aud="other"), "udience"),
        (token(lacks="exp"), "exp"),
        (token(lacks="aud"), "aud"),
        (token(lacks="iss"), "iss"),
        (token(lacks="sub"), "sub"),
        (token(kid="other"), "key that is not known"),
        (token("ES256", kid="EdDSA"), "alg"),
        (token()[:-8] + "AAAAAAAA", "ignature"),
        ("a.b.c", ""),
        ("hunter2", ""),
    ],
)
def test_a_token_that_is_wrong_in_one_thing_is_refused(text, why):
    assert why in refusal(text)


def test_the_providers_clock_may_be_off_by_the_leeway():
    late = token(exp=time.time() - 20)
    assert asker(late, leeway_seconds=600).user == "ann"
    assert "expired" in refusal(late, leeway_seconds=0)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_provider_whose_clock_is_ahead_is_believed_within_the_leeway(claim):
    early = token(**{claim: time.time() + 20})
    assert asker(early, leeway_seconds=600).user == "ann"
    assert "not yet valid" in refusal(early, leeway_seconds=0)


def test_a_token_is_good_for_many_requests_until_it_expires_whatever_its_jti(monkeypatch):
    """As bearer tokens are (RFC 6750): callers send one with every request while it lasts."""
    text = token(jti="once", exp=time.time() + 60)
    verifier = TokenVerifier(KEYS.get, settings(leeway_seconds=30))
    assert [verifier.principal(text).user for _ in range(3)] == ["ann"] * 3
    now = datetime.now(UTC)
    clock = Mock(wraps=datetime)
    clock.now.side_effect = lambda tz: now + timedelta(seconds=91)
    monkeypatch.setattr("jwt.api_jwt.datetime", clock)
    with pytest.raises(RouterError, match="expired"):
        verifier.principal(text)  # that it was good before changes nothing


@pytest.mark.parametrize("value", [None, 5, "", "x" * 129])
@pytest.mark.parametrize("claim", ["org", "who"])
def test_a_name_that_is_missing_or_can_be_none_is_refused(claim, value):
    claims = {"org": "acme", "who": "ann", claim: value}
    message = refusal(token(**claims), tenant_claim="org", user_claim="who")
    assert claim in message


def test_nobody_can_sign_with_what_is_public_or_with_nothing():
    public = PRIVATE["RS256"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = {"iss": provider.ISSUER, "aud": provider.AUDIENCE, "sub": "eve"}
    claims["exp"] = int(time.time()) + 60
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": "RS256"})
    head = _part({"alg": "HS256", "kid": "RS256", "typ": "JWT"})
    body = _part(claims)
    mac = jwt.get_algorithm_by_name("HS256")
    signature = mac.sign(f"{head}.{body}".encode(), pem)
    forged = f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    for text in (unsigned, forged):
        refusal(text)


def _part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@given(
    st.text(max_size=200) | st.from_regex(r"[\w-]{1,60}\.[\w-]{1,60}\.[\w-]{0,60}", fullmatch=True)
)
def test_no_text_does_more_than_be_refused(text):
    with pytest.raises(RouterError) as refused:
        asker(text)
    assert refused.value.reason is Reason.UNAUTHENTICATED


def test_of_a_key_set_what_verifies_is_taken():
    found = read_jwks(
        {
            "keys": [
                jwk("ES256"),
                {**jwk("RS256"), "use": "enc"},
                {"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"},
                {"kty": "EC", "kid": "broken", "crv": "P-256"},
                {"kty": "?"},
                "nonsense",
            ]
        }
    )
    assert set(found) == {"ES256"}


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [{}]}, {"keys": [jwk("ES256")] * 65}],
)
def test_what_is_no_key_set_is_refused(data):
    with pytest.raises(ValueError, match="it "):
        read_jwks(data)
