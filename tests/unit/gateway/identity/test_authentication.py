"""Who a call is from, by what it brings; every refusal is told, and never with the credential."""

from __future__ import annotations

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.identity.api_keys import ApiKey, make
from llmrouter.gateway.identity.authentication import Call, Identity, is_loopback
from llmrouter.gateway.identity.principal import ANONYMOUS, OPERATOR, Principal, Scope

SECRET = b"s" * 32
CERTIFIED = {"spiffe://x/ci": Principal("certified", scopes=frozenset({Scope.GENERATE}))}
HERE, THERE = "ipv4:127.0.0.1:5000", "ipv4:10.0.0.7:5000"
KEY, TEXT = make(
    SECRET,
    ApiKey("", "ci", b"", 0.0, "acme", scopes=frozenset({Scope.GENERATE}), models=frozenset("ab")),
)


class Keys:
    secret = SECRET

    def find(self, identifier):
        return KEY if identifier == KEY.id else None


class Audit:
    def __init__(self):
        self.told = []

    def tell(self, act, **facts):
        self.told.append((act, facts))


@pytest.fixture
def audit():
    return Audit()


@pytest.fixture
def admit(audit):
    def call(
        *headers,
        peer=THERE,
        anonymous="loopback",
        scope=Scope.GENERATE,
        model="",
        tokens=None,
        names=(),
    ):
        identity = Identity(Keys(), anonymous, audit, tokens, CERTIFIED, lambda: 1.0)
        metadata = [("user-agent", "x"), *(("authorization", one) for one in headers)]
        return identity.admit(Call(metadata, peer, "r-1", names), scope, model)

    return call


@pytest.mark.parametrize("anonymous", ["never", "loopback"])
def test_a_caller_who_is_gone_is_no_stranger_and_is_told_to_nobody(admit, audit, anonymous):
    with pytest.raises(RouterError) as gone:
        admit(peer="", anonymous=anonymous)
    assert gone.value.reason is Reason.CANCELLED
    assert audit.told == []
    with pytest.raises(RouterError) as refused:
        admit("Bearer llmr_wrong", peer="", anonymous=anonymous)
    assert refused.value.reason is Reason.UNAUTHENTICATED
    assert len(audit.told) == 1


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv4:127.9.9.9:1", True),
        ("ipv6:[::1]:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("ipv6:[::ffff:127.0.0.1]:5000", True),
        ("unix:/run/x.sock", True),
        ("inprocess", True),
        ("ipv4:10.0.0.7:5000", False),
        ("ipv6:[::ffff:10.0.0.7]:5000", False),
        ("ipv6:[fe80::1%25eth0]:5000", False),
        ("ipv4:127.0.0.1.evil.example:80", False),
        ("", False),
        ("who knows", False),
    ],
)
def test_a_peer_is_on_this_machine_or_is_not(peer, here):
    assert is_loopback(peer) is here


@pytest.mark.parametrize(
    ("anonymous", "peer", "who"),
    [
        ("always", THERE, ANONYMOUS),
        ("always", HERE, OPERATOR),
        ("loopback", HERE, OPERATOR),
        ("loopback", THERE, None),
        ("never", HERE, None),
        ("never", "inprocess", None),
    ],
)
def test_who_brings_nothing_is_let_in_where_the_settings_say(admit, audit, anonymous, peer, who):
    if who is not None:
        assert admit(peer=peer, anonymous=anonymous) == who
        assert audit.told == []
        return
    with pytest.raises(RouterError, match="brings no credential") as refused:
        admit(peer=peer, anonymous=anonymous)
    assert refused.value.reason is Reason.UNAUTHENTICATED
    assert audit.told[0][1]["peer"] == peer


@pytest.mark.parametrize("form", ["Bearer {}", "bearer   {}", "BEARER {} "])
def test_a_key_says_who_asks(admit, form):
    header = form.format(TEXT)
    assert admit(header, anonymous="never").tenant == "acme"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ((TEXT,), "must come once"),
        ((f"Basic {TEXT}",), "must come once"),
        ((f"Bearer {TEXT}", f"Bearer {TEXT}"), "must come once"),
        ((b"Bearer x",), "must come once"),
        (("Bearer ",), "credential is empty"),
        (("Bearer " + "x" * 20_000,), "too long: 20000 characters, where at most 16384"),
        ((f"Bearer {TEXT[:-1]}",), "not known"),
    ],
)
def test_a_wrong_credential_is_refused_even_where_none_is_needed(admit, audit, headers, told):
    with pytest.raises(RouterError, match=told) as refused:
        admit(*headers, anonymous="always")
    assert refused.value.reason is Reason.UNAUTHENTICATED
    ((act, facts),) = audit.told
    assert (act, facts["reason"], facts["request_id"]) == ("refused", "UNAUTHENTICATED", "r-1")
    assert TEXT[-20:] not in str(audit.told) + refused.value.message


class Tokens:
    def principal(self, token):
        return Principal(user=token)


def test_what_is_no_key_is_read_as_a_token_where_those_are_taken(admit):
    assert admit("Bearer a.b.c", tokens=Tokens()).user == "a.b.c"
    assert admit(f"Bearer {TEXT}", tokens=Tokens()).tenant == "acme"
    with pytest.raises(RouterError, match="not known"):
        admit("Bearer llmr_a.b.c", tokens=Tokens())


@pytest.mark.parametrize("headers", [(), ("Bearer none",)])
def test_a_certificate_says_who_asks_where_no_credential_does(admit, headers):
    names = ("ci", "spiffe://x/ci")
    assert admit(*headers, names=names, anonymous="never").tenant == "certified"
    with pytest.raises(RouterError, match="needs the scope 'embed'"):
        admit(*headers, names=names, scope=Scope.EMBED)
    with pytest.raises(RouterError) as refused:
        admit(*headers, names=("ci",), anonymous="never")
    assert refused.value.reason is Reason.UNAUTHENTICATED


def test_a_key_counts_more_than_the_certificate_of_who_brings_it(admit):
    assert admit(f"Bearer {TEXT}", names=("spiffe://x/ci",)).tenant == "acme"
    with pytest.raises(RouterError, match="not known"):
        admit(f"Bearer {TEXT[:-1]}", names=("spiffe://x/ci",))


def test_what_is_no_credential_at_all_counts_as_none(admit):
    assert admit("Bearer none", anonymous="always") == ANONYMOUS
    assert admit("Bearer none", anonymous="loopback", peer=HERE, tokens=Tokens()) == OPERATOR
    with pytest.raises(RouterError, match="no API key of this gateway"):
        admit("Bearer none", anonymous="loopback")


def test_only_who_is_on_this_machine_watches_without_a_credential(admit):
    assert admit(peer=HERE, anonymous="always", scope=Scope.OBSERVE) == OPERATOR
    with pytest.raises(RouterError, match="needs the scope 'observe'"):
        admit(peer=THERE, anonymous="always", scope=Scope.OBSERVE)


def test_a_scope_that_a_key_lacks_is_refused_and_told(admit, audit):
    with pytest.raises(RouterError, match="needs the scope 'embed'") as refused:
        admit(f"Bearer {TEXT}", scope=Scope.EMBED)
    assert refused.value.reason is Reason.PERMISSION_DENIED
    assert refused.value.metadata == {"scope": "embed"}
    assert audit.told[0][1]["credential"] == f"key {KEY.id}"


@pytest.mark.parametrize("model", ["", "a", "b@v2"])
def test_a_model_that_a_key_may_use_is_let_through(admit, model):
    assert admit(f"Bearer {TEXT}", model=model).models == {"a", "b"}


def test_another_model_is_refused_and_told(admit, audit):
    with pytest.raises(RouterError, match="may not use 'c'; it may use a, b") as refused:
        admit(f"Bearer {TEXT}", model="c@v1")
    assert refused.value.reason is Reason.PERMISSION_DENIED
    assert audit.told[0][1]["model"] == "c@v1"
