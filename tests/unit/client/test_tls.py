"""What a client is told of TLS, and what it refuses before it dials."""

from __future__ import annotations

import pytest
from tests.authority import Authority

from llmrouter_client import AsyncClient, Client, LlmrouterError, Tls
from llmrouter_client.handshake import handshake_failure


@pytest.mark.parametrize("made", [AsyncClient, Client])
@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "tls.ca_file is '/nowhere/ca.pem', which cannot be read"),
        ({"certificate_file": "a.pem"}, "tls needs both certificate_file and key_file"),
        ({"ca_file": __file__}, "which is no PEM file"),
    ],
)
def test_files_that_cannot_be_used_are_refused_by_name(made, files, why):
    with pytest.raises(LlmrouterError, match=why) as refused:
        made("localhost:1", tls=Tls(**files))
    assert refused.value.reason == "INVALID_ARGUMENT"


def test_files_that_can_be_used_are(tmp_path):
    authority = Authority(tmp_path)
    pair = authority.issue()
    assert Tls(authority.file, pair.certificate, str(pair.key)).credentials() is not None
    assert Tls().credentials() is not None


@pytest.mark.parametrize(
    ("details", "sentence"),
    [
        (
            "Tls handshake failed (X): OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: a reason: OK",
            "the certificate of a:1 is not believed: a reason",
        ),
        (
            "Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: WRONG_VERSION_NUMBER",
            "a:1 does not speak TLS as it was asked to",
        ),
        (
            "failed to connect to all addresses; last error: UNAVAILABLE: x: Socket closed",
            "a:1 ended the connection before any call",
        ),
        ("failed to connect to all addresses; last error: Connection refused", None),
    ],
)
def test_what_grpc_says_of_a_handshake_is_told_as_a_sentence(details, sentence):
    told = handshake_failure("a:1", details)
    assert (told is None) if sentence is None else told.startswith(sentence)
