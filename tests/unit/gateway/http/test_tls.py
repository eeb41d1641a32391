"""HTTP over the gateway's TLS: who is let in, and certificates renewed while it serves."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from tests.authority import Authority
from tests.unit.gateway.http.conftest import serving

from llmrouter.common import tls
from llmrouter.common.settings import ConfigError
from llmrouter.common.tls import ServerTls
from llmrouter.gateway.http import door
from llmrouter.gateway.settings import GatewaySettings


@pytest.fixture
def authority(tmp_path, monkeypatch):
    monkeypatch.setattr(tls, "_LOOK_SECONDS", 0.0)
    return Authority(tmp_path)


def shown(pair, client_ca=None):
    return ServerTls(certificate_file=pair.certificate, key_file=pair.key, client_ca_file=client_ca)


def believing(authority, pair=None, newest=ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile=authority.file)
    context.maximum_version = newest
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


async def status(address, context):
    """Return the status of a request over TLS."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        async with asyncio.timeout(10):
            return (await reader.readline()).split()[1:2]
    finally:
        writer.close()


async def is_let_in(address, context):
    """Whether a request is answered; TLS 1.3 tells a caller late that it is not welcome."""
    try:
        return await status(address, context) == [b"200"]
    except (ssl.SSLError, ConnectionError):
        return False


async def test_it_is_spoken_where_the_gateway_shows_a_certificate(authority):
    async with serving(tls=shown(authority.issue())) as api:
        assert await is_let_in(api.address, believing(authority))


async def test_nothing_below_tls_13_is_spoken(authority):
    async with serving(tls=shown(authority.issue())) as api:
        old = believing(authority, newest=ssl.TLSVersion.TLSv1_2)
        assert not await is_let_in(api.address, old)


async def test_callers_show_their_certificate_where_one_is_asked_for(authority, tmp_path):
    stranger = Authority(tmp_path, "stranger").issue("someone")
    async with serving(tls=shown(authority.issue(), authority.file)) as api:
        client = believing(authority, authority.issue("client"))
        assert await is_let_in(api.address, client)
        for unknown in (believing(authority), believing(authority, stranger)):
            assert not await is_let_in(api.address, unknown)


async def test_a_renewed_certificate_is_shown_without_a_restart(authority):
    async with serving(tls=shown(authority.issue(days=(-9, -1)))) as api:
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            await status(api.address, believing(authority))
        authority.issue()
        assert await is_let_in(api.address, believing(authority))


async def test_callers_of_a_new_authority_are_let_in_without_a_restart(authority, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    pair = stranger.issue("someone")
    async with serving(tls=shown(authority.issue(), authority.file)) as api:
        assert not await is_let_in(api.address, believing(authority, pair))
        both = authority.file.read_bytes() + stranger.file.read_bytes()
        authority.file.write_bytes(both)
        assert await is_let_in(api.address, believing(authority, pair))


def test_a_file_that_cannot_be_used_is_refused_by_name(authority):
    pair = authority.issue()
    pair.key.unlink()
    with pytest.raises(ConfigError, match=r"gateway\.tls\.key_file: .* cannot be read"):
        door.HttpDoor(lambda *_: None, GatewaySettings(tls=shown(pair)))
