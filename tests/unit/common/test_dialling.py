"""Channels by address: configured ones last, those of plans are let go after a while."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc import aio

from llmrouter.common import dialling
from llmrouter.common.dialling import Dialler


class FakeChannel:
    """A channel whose calls end when `idle` is set."""

    def __init__(self, address):
        self.address = address
        self.graces = []
        self.idle = asyncio.Event()

    async def close(self, grace=None):
        self.graces.append(grace)
        if grace:
            await self.idle.wait()


@pytest.fixture
def dialler(monkeypatch):
    monkeypatch.setattr(dialling, "_MAX_PASSING", 2)
    monkeypatch.setattr(dialling, "_GRACE_SECONDS", 60.0)
    monkeypatch.setattr(
        dialling.aio, "insecure_channel", lambda address, options: FakeChannel(address)
    )
    return Dialler()


async def test_past_its_bound_the_channel_not_asked_for_the_longest_is_let_go(dialler):
    first, second = dialler.passing("10.0.0.1:1"), dialler.passing("10.0.0.2:1")
    assert dialler.passing("10.0.0.1:1") is first
    third = dialler.passing("10.0.0.3:1")
    await asyncio.sleep(0)
    assert (first.graces, second.graces, third.graces) == ([], [60.0], [])
    assert dialler.passing("10.0.0.1:1") is first
    assert dialler.passing("10.0.0.2:1") is not second
    await dialler.close()


async def test_a_configured_channel_lasts_however_many_pass(dialler):
    kept = dialler.channel("10.0.0.1:1")
    for number in range(10):
        dialler.passing(f"10.0.0.2:{number}")
    await asyncio.sleep(0)
    assert dialler.channel("10.0.0.1:1") is dialler.passing("10.0.0.1:1") is kept
    assert kept.graces == []
    await dialler.close()


async def test_a_local_channel_stands_for_its_address_and_is_not_closed(dialler):
    local = FakeChannel("local")
    dialler.add_local("10.0.0.1:1", local)
    assert dialler.channel("10.0.0.1:1") is dialler.passing("10.0.0.1:1") is local
    await dialler.close()
    assert local.graces == []


async def test_closing_waits_for_no_call_of_a_channel_that_was_let_go(dialler):
    channels = [dialler.passing(f"10.0.0.1:{number}") for number in range(4)] + [
        dialler.channel("10.0.0.2:1")
    ]
    await asyncio.sleep(0)
    channels[0].idle.set()
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await dialler.close()
    assert [one.graces for one in channels] == [[60.0], [60.0, None], [None], [None], [None]]


async def test_a_call_on_a_channel_that_is_let_go_ends_as_it_would_have(monkeypatch):
    monkeypatch.setattr(dialling, "_MAX_PASSING", 1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def echo(request, context):
        begun.set()
        await go_on.wait()
        return request

    server = aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    dialler = Dialler()
    try:
        call = dialler.passing(f"127.0.0.1:{port}").unary_unary("/test.Echo/Echo")(b"hello")
        async with asyncio.timeout(10):
            await begun.wait()
            dialler.passing("127.0.0.1:1")
            await asyncio.sleep(0.05)
            go_on.set()
            assert await call == b"hello"
            await dialler.close()
    finally:
        await server.stop(None)
