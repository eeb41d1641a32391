"""Keys are known by a keyed hash alone, and good for what their record says."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.identity.api_keys import ApiKey, authenticate, make, revoke, rotate
from llmrouter.gateway.identity.principal import Principal, Scope

SECRET = b"s" * 32
NOW = 1_000_000.0
WANTED = ApiKey(
    id="",
    name="ci",
    digest=b"",
    created=NOW,
    tenant="acme",
    user="ann",
    scopes=frozenset({Scope.EMBED}),
    models=frozenset({"small"}),
)
KEY, TEXT = make(SECRET, WANTED)


def ask(text, *keys, secret=SECRET, now=NOW):
    return authenticate(text, {key.id: key for key in keys}.get, secret, now)


def refusal(text, *keys, **options):
    with pytest.raises(RouterError) as refused:
        ask(text, *keys, **options)
    assert refused.value.reason is Reason.UNAUTHENTICATED
    assert len(text) < 20 or text not in refused.value.message
    return refused.value.message


def test_a_key_says_who_holds_it():
    assert ask(TEXT, KEY) == Principal(
        "acme", "ann", frozenset({Scope.EMBED}), frozenset({"small"}), f"key {KEY.id}"
    )


def test_what_is_kept_does_not_contain_the_secret_and_needs_the_gateways():
    assert TEXT.removeprefix(f"{TEXT.partition(KEY.id)[0]}{KEY.id}") not in str(asdict(KEY))
    assert "not known" in refusal(TEXT, KEY, secret=b"t" * 32)


def test_no_two_keys_are_alike():
    made = [make(SECRET, WANTED) for _ in range(50)]
    assert len({key.id for key, _ in made} | {text for _, text in made}) == 100


@given(st.text(max_size=80) | st.from_regex(r"llmr_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", fullmatch=True))
def test_no_other_text_is_a_key(text):
    assert "not known" in refusal(text or "x", KEY)


def test_the_text_of_one_key_is_none_of_another():
    other, text = make(SECRET, WANTED)
    forged = text.replace(other.id, KEY.id)
    assert "not known" in refusal(forged, KEY, other)


def test_a_key_is_good_until_it_expires():
    key = replace(KEY, expires=NOW + 5)
    assert ask(TEXT, key, now=NOW + 4.9)
    assert "is expired" in refusal(TEXT, key, now=NOW + 5)


def test_a_revoked_key_stays_revoked():
    key = revoke(KEY, NOW)
    assert "is revoked" in refusal(TEXT, key)
    assert revoke(key, NOW + 9) == key
    with pytest.raises(ValueError, match="create another"):
        rotate(key, SECRET, NOW, 0)


def test_that_a_key_is_revoked_is_told_its_holder_alone():
    assert "not known" in refusal(TEXT[:-4] + "AAAA", revoke(KEY, NOW))


def test_after_a_rotation_both_texts_are_good_for_the_grace():
    renewed, text = rotate(KEY, SECRET, NOW, 60)
    assert (renewed.id, renewed.tenant) == (KEY.id, "acme")
    assert ask(text, renewed) == ask(TEXT, renewed, now=NOW + 59)
    assert "not known" in refusal(TEXT, renewed, now=NOW + 60)


def test_only_the_last_two_texts_are_good():
    once, _ = rotate(KEY, SECRET, NOW, 60)
    twice, text = rotate(once, SECRET, NOW, 60)
    assert ask(text, twice)
    assert "not known" in refusal(TEXT, twice)


def test_revoking_ends_the_old_text_too():
    renewed, text = rotate(KEY, SECRET, NOW, 60)
    gone = revoke(renewed, NOW)
    assert "is revoked" in refusal(text, gone)
    assert "not known" in refusal(TEXT, gone)
