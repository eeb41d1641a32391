"""`keys`: created, listed, rotated and revoked, each told in the audit log and never with a key."""

from __future__ import annotations

import json

import pytest
from tests.unit.cli.driving import lines, run
from tests.unit.client.fake_gateway import FakeGateway, serving_in_thread

from llmrouter.gateway.identity.api_keys import authenticate
from llmrouter.gateway.identity.key_store import KeyStore
from llmrouter.gateway.identity.principal import CALLER_SCOPES, Scope


@pytest.fixture(autouse=True)
def data(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "llmrouter"


def holder(data, text, now=0.0):
    keys, secret = KeyStore(data / "keys.sqlite").load()
    return authenticate(text, keys.get, secret, now)


def audited(data):
    return [json.loads(line) for line in (data / "audit.jsonl").read_text().splitlines()]


def test_a_key_is_the_only_thing_on_standard_output(data):
    result = run("keys", "create", "ci")
    assert result.exit_code == 0
    who = holder(data, result.stdout.strip())
    assert (who.tenant, who.user, who.scopes, who.models) == ("default", "", CALLER_SCOPES, set())
    assert "the only time" in result.stderr


def test_a_key_allows_what_its_flags_say(data):
    flags = ("--tenant", "acme", "--user", "ann", "--scope", "embed", "--scope", "models")
    more = ("--model", "small", "--model", "large", "--days", "30", "--json")
    (told,) = lines(run("keys", "create", "ci", *flags, *more))
    who = holder(data, told["text"])
    assert (who.tenant, who.user) == ("acme", "ann")
    assert who.scopes == {Scope.EMBED, Scope.MODELS}
    assert who.models == {"small", "large"}
    assert told["key"]["expires"] > told["key"]["created"]
    assert told["key"]["state"] == "active"


def test_who_gives_a_name_twice_is_told_whose_it_is_already(data):
    assert "too" not in run("keys", "create", "ci").stderr
    [first] = KeyStore(data / "keys.sqlite").load()[0]
    second = run("keys", "create", "ci")
    assert f"'ci' is the name of {first} too" in second.stderr
    assert len(second.stdout.splitlines()) == 1, "the key alone"
    assert "too" not in run("keys", "create", "other").stderr


def test_keys_are_listed_without_what_opens_anything(data):
    assert "no keys yet" in run("keys", "list").stdout
    text = run("keys", "create", "ci", "--tenant", "acme").stdout.strip()
    shown = run("keys", "list")
    (told,) = lines(run("keys", "list", "--json"))
    for fact in ("ci", "active", "acme", "never"):
        assert fact in shown.stdout
    assert told["keys"][0]["name"] == "ci"
    assert text.rpartition("_")[2] not in shown.stdout + str(told)


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_rotated_key_has_a_new_text_and_a_revoked_one_none(data, by):
    (made,) = lines(run("keys", "create", "ci", "--json"))
    named = made["key"][by]
    (renewed,) = lines(run("keys", "rotate", named, "--grace-hours", "0", "--json"))
    assert holder(data, renewed["text"]).credential == f"key {made['key']['id']}"
    with pytest.raises(Exception, match="not known"):
        holder(data, made["text"], now=1e12)
    assert "revoked" in run("keys", "revoke", named).stdout
    with pytest.raises(Exception, match="is revoked"):
        holder(data, renewed["text"])
    assert "is revoked; create another" in run("keys", "rotate", named).stderr


def test_every_act_is_audited_with_who_did_it_and_without_the_key(data):
    (made,) = lines(run("keys", "create", "ci", "--tenant", "acme", "--json"))
    run("keys", "rotate", "ci")
    run("keys", "revoke", "ci")
    told = audited(data)
    assert [one["act"] for one in told] == ["key.created", "key.rotated", "key.revoked"]
    assert {(one["key"], one["tenant"]) for one in told} == {(made["key"]["id"], "acme")}
    assert all(one["by"] for one in told)
    assert made["text"].rpartition("_")[2] not in str(told)


@pytest.mark.parametrize("command", ["rotate", "revoke"])
def test_a_key_that_is_not_there_or_not_the_only_one_is_a_failure(command):
    assert run("keys", command, "none").exit_code == 1
    assert "no key is called 'none'" in run("keys", command, "none").stderr
    run("keys", "create", "twin")
    run("keys", "create", "twin")
    result = run("keys", command, "twin")
    assert result.exit_code == 1
    assert "2 keys are called 'twin'; name one by its id" in result.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("",),
        ("x" * 65,),
        ("a", "--tenant", ""),
        ("a", "--user", "x" * 129),
        ("a", "--scope", "everything"),
        ("a", "--days", "-1"),
    ],
)
def test_what_no_key_can_be_is_wrong_usage(flags, data):
    assert run("keys", "create", *flags).exit_code == 2
    assert not data.exists()


def test_the_settings_say_where_the_keys_are(tmp_path):
    file = tmp_path / "llmrouter.yaml"
    there = {"key_store": str(tmp_path / "k"), "audit_file": str(tmp_path / "a")}
    file.write_text(json.dumps({"gateway": {"identity": there}}))
    assert run("keys", "create", "ci", "--config", str(file)).exit_code == 0
    assert {"k", "k.secret", "a"} <= {path.name for path in tmp_path.iterdir()}


def test_commands_bring_the_key_of_the_environment(monkeypatch):
    monkeypatch.setenv("LLMROUTER_API_KEY", "llmr_k")
    gateway = FakeGateway()
    with serving_in_thread(gateway) as address:
        assert run("generate", "hi", "--address", address).exit_code == 0
    assert gateway.credentials == ["Bearer llmr_k"]
