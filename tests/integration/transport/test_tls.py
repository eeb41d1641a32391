"""Services over TLS: who is let in, who is believed, and certificates renewed while calls run."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import grpc
import pytest
from grpc import aio
from tests.authority import Authority
from tests.integration.transport.named import Named, health_of, hosted, say
from tests.support.ports import free_ports

from llmrouter.common import credentials, tls
from llmrouter.common.dialling import Dialler
from llmrouter.common.settings import ConfigError
from llmrouter.common.tls import ClientTls, ServerTls


@pytest.fixture
def authority(tmp_path, monkeypatch):
    monkeypatch.setattr(tls, "_LOOK_SECONDS", 0.0)
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path):
    return Authority(tmp_path, "stranger")


def shown(pair, authority=None):
    """Settings of a service that shows `pair`, and wants certificates of `authority`."""
    ca = None if authority is None else authority.file
    return ServerTls(certificate_file=pair.certificate, key_file=pair.key, client_ca_file=ca)


def believing(authority, pair=None):
    """Settings of a caller that believes `authority`, and shows `pair`."""
    if pair is None:
        return ClientTls(ca_file=authority.file)
    return ClientTls(ca_file=authority.file, certificate_file=pair.certificate, key_file=pair.key)


@contextlib.asynccontextmanager
async def dialled(address, settings):
    dialler = Dialler(tls=settings)
    yield dialler.channel(address)
    await dialler.close()


async def refusal(address, settings):
    """Return gRPC's words for a call that is not let in."""
    async with dialled(address, settings) as channel:
        with pytest.raises(aio.AioRpcError) as refused:
            await say(channel)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        return refused.value.details()


async def test_services_that_know_each_other_talk(authority):
    server, client = authority.issue("server"), authority.issue("client")
    async with (
        hosted(Named("one"), tls=shown(server, authority)) as (address, _),
        dialled(address, believing(authority, client)) as channel,
    ):
        assert await say(channel) == b"one"


async def test_a_caller_without_a_certificate_is_let_in_where_none_is_asked_for(authority):
    async with (
        hosted(Named("one"), tls=shown(authority.issue("server"))) as (address, _),
        dialled(address, believing(authority)) as channel,
    ):
        assert await say(channel) == b"one"


@pytest.mark.parametrize("client", ["none", "expired", "not yet valid", "a stranger's"])
async def test_a_caller_with_no_good_certificate_is_not_let_in(authority, stranger, client):
    pair = {
        "none": lambda: None,
        "expired": lambda: authority.issue("client", days=(-9, -1)),
        "not yet valid": lambda: authority.issue("client", days=(1, 9)),
        "a stranger's": lambda: stranger.issue("client"),
    }[client]()
    named = Named("one")
    async with hosted(named, tls=shown(authority.issue("server"), authority)) as (address, _):
        await refusal(address, believing(authority, pair))
        assert not named.begun.is_set()
        good = believing(authority, authority.issue("good"))
        async with dialled(address, good) as channel:
            assert await say(channel) == b"one"


async def test_a_caller_without_tls_is_not_let_in(authority):
    async with hosted(Named("one"), tls=shown(authority.issue("server"))) as (address, _):
        assert "Socket closed" in await refusal(address, None)


@pytest.mark.parametrize(
    ("days", "by_stranger", "why"),
    [
        ((-9, -1), False, "certificate has expired"),
        ((1, 9), False, "certificate is not yet valid"),
        ((-1, 1), True, "unable to get local issuer certificate"),
    ],
)
async def test_a_service_with_no_good_certificate_is_not_believed(
    authority, stranger, days, by_stranger, why
):
    signing = stranger if by_stranger else authority
    pair = signing.issue("server", days=days)
    async with hosted(Named("one"), tls=shown(pair)) as (address, _):
        assert why in await refusal(address, believing(authority))


async def test_a_service_is_believed_by_its_name_alone(authority):
    async with hosted(Named("one"), "127.0.0.2", tls=shown(authority.issue("server"))) as (
        address, _,
    ):  # fmt: skip
        assert "127.0.0.2" in await refusal(address, believing(authority))


def version_spoken(address, authority, newest):
    context = ssl.create_default_context(cafile=authority.file)
    context.maximum_version = newest
    context.set_alpn_protocols(["h2"])
    host, _, port = address.partition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.version()


async def test_nothing_below_tls_13_is_spoken(authority):
    async with hosted(Named("one"), tls=shown(authority.issue("server"))) as (address, _):
        newest = ssl.TLSVersion.TLSv1_3
        assert await asyncio.to_thread(version_spoken, address, authority, newest) == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(version_spoken, address, authority, ssl.TLSVersion.TLSv1_2)


async def test_where_tls_13_cannot_be_insisted_on_a_service_does_not_start(authority, monkeypatch):
    monkeypatch.setattr(credentials, "MIN_TLS_IS_SET", False)
    with pytest.raises(ConfigError, match=r"cache\.tls: gRPC .* may speak TLS below 1\.3"):
        async with hosted(Named("one"), tls=shown(authority.issue("server"))):
            pass


async def test_a_renewed_certificate_is_shown_without_a_restart(authority):
    expired = authority.issue("server", days=(-9, -1))
    async with hosted(Named("one"), tls=shown(expired)) as (address, _):
        assert "has expired" in await refusal(address, believing(authority))
        authority.issue("server")
        async with dialled(address, believing(authority)) as channel:
            assert await say(channel) == b"one"


async def test_callers_of_a_new_authority_are_let_in_without_a_restart(authority, stranger):
    pair, client = authority.issue("server"), stranger.issue("client")
    async with hosted(Named("one"), tls=shown(pair, authority)) as (address, _):
        await refusal(address, believing(authority, client))
        both = authority.file.read_bytes() + stranger.file.read_bytes()
        authority.file.write_bytes(both)
        async with dialled(address, believing(authority, client)) as channel:
            assert await say(channel) == b"one"


async def test_a_caller_goes_on_with_its_renewed_certificate(authority):
    server, client = authority.issue("server"), authority.issue("client", days=(-9, -1))
    async with (
        hosted(Named("one"), tls=shown(server, authority)) as (address, _),
        dialled(address, believing(authority, client)) as channel,
    ):
        call = channel.unary_unary("/test.Named/Say")
        with pytest.raises(aio.AioRpcError):
            await call(b"", timeout=10)
        authority.issue("client")
        assert await call(b"", timeout=10) == b"one"


async def test_a_call_that_runs_while_certificates_are_renewed_finishes(authority):
    named = Named("one")
    named.may.clear()
    server, client = authority.issue("server"), authority.issue("client")
    async with (
        hosted(named, tls=shown(server, authority)) as (address, _),
        dialled(address, believing(authority, client)) as channel,
    ):
        running = say(channel)
        await asyncio.wait_for(named.begun.wait(), 10)
        authority.issue("client")
        authority.issue("server")
        later = []
        async with asyncio.timeout(10):
            while not named.second.is_set():
                later.append(say(channel))
                await asyncio.sleep(0.05)
        named.may.set()
        assert {await call for call in (running, *later)} == {b"one"}


async def test_probes_need_no_certificate(authority):
    [port] = free_ports(1)
    settings = shown(authority.issue("server"), authority)
    async with hosted(Named("one"), tls=settings, health_port=port) as (_, host):
        await host.start()
        assert await health_of(f"127.0.0.1:{port}") == "SERVING"
