"""Certificates in files: refused by name when they are wrong, taken up when they are renewed."""

from __future__ import annotations

import pytest
from tests.authority import Authority

from llmrouter.common import tls
from llmrouter.common.settings import ConfigError, insist_on_tls_13, parse
from llmrouter.common.tls import ClientTls, CredentialFiles, ServerTls


@pytest.fixture
def authority(tmp_path, monkeypatch):
    monkeypatch.setattr(tls, "_LOOK_SECONDS", 0.0)
    return Authority(tmp_path)


def served(authority, pair):
    settings = ServerTls(
        certificate_file=pair.certificate, key_file=pair.key, client_ca_file=authority.file
    )
    return CredentialFiles("cache.tls", settings)


def test_files_are_read_whole(authority):
    pair = authority.issue()
    held = served(authority, pair).current()
    assert held.certificate == pair.certificate.read_bytes()
    assert held.key == pair.key.read_bytes()
    assert held.ca == authority.file.read_bytes()


def test_what_does_not_change_stays_the_same_object(authority):
    files = served(authority, authority.issue())
    assert files.current() is files.current()


def test_renewed_files_are_taken_up(authority):
    files = served(authority, authority.issue())
    before = files.current()
    renewed = authority.issue()
    assert files.current() is not before
    assert files.current().certificate == renewed.certificate.read_bytes()


def test_files_are_not_looked_at_with_every_call(authority, monkeypatch):
    files = served(authority, authority.issue())
    monkeypatch.setattr(tls, "_LOOK_SECONDS", 3600.0)
    before = files.current()
    authority.issue()
    assert files.current() is before


@pytest.mark.parametrize("broken", ["half", "other key", "gone", "no PEM"])
def test_files_that_are_not_whole_change_nothing_until_they_are(authority, broken):
    pair = authority.issue()
    files = served(authority, pair)
    before = files.current()
    match broken:
        case "half":
            pair.certificate.write_bytes(pair.certificate.read_bytes()[:200])
        case "other key":
            authority.issue("other").key.replace(pair.key)
        case "gone":
            pair.key.unlink()
        case "no PEM":
            pair.key.write_text("hello")
    assert files.current() is before
    authority.issue()
    assert files.current() is not before


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda pair: pair.key.unlink(), r"cache\.tls\.key_file: .* cannot be read: No such file"),
        (lambda pair: pair.key.write_text("x"), r"cache\.tls\.key_file: .* is no PEM file"),
        (
            lambda pair: pair.key.write_bytes(pair.certificate.read_bytes()),
            r"cache\.tls: .*service\.key is not the unencrypted private key of .*service\.crt",
        ),
        (
            lambda pair: (pair.certificate.parent / "ca.pem").write_text("-----BEGIN NOTHING"),
            r"cache\.tls\.client_ca_file: .* holds no certificates",
        ),
    ],
)
def test_at_the_start_a_wrong_file_is_refused_by_the_name_of_its_setting(authority, broken, why):
    pair = authority.issue()
    broken(pair)
    with pytest.raises(ConfigError, match=why):
        served(authority, pair)


def test_a_certificate_to_show_needs_its_key():
    with pytest.raises(ConfigError, match=r"gateway\.dial_tls: needs both certificate_file and"):
        parse(ClientTls, {"certificate_file": "a.pem"}, "gateway.dial_tls")


@pytest.mark.parametrize(
    ("loaded", "chosen", "insists"),
    [
        (False, None, True),
        (True, None, False),
        (False, "ECDHE-ECDSA-AES128-GCM-SHA256", False),
        (True, "ECDHE-PSK-AES128-CBC-SHA", True),
    ],
)
def test_whether_tls_13_is_insisted_on_is_known(loaded, chosen, insists):
    environ = {} if chosen is None else {"GRPC_SSL_CIPHER_SUITES": chosen}
    assert insist_on_tls_13(loaded=loaded, environ=environ) is insists
