"""Ports of a service: health beside it, connections of bounded age, calls over all replicas."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.integration.transport.named import Named, health_of, hosted, say
from tests.support.ports import free_ports
from tests.support.waiting import until

from llmrouter.common import renewing
from llmrouter.common.dialling import Dialler
from llmrouter.common.hosting import Hosted, Service
from llmrouter.common.listening import Listening
from llmrouter.common.renewing import RenewingChannel
from llmrouter.common.settings import ConfigError
from llmrouter_client.handshake import handshake_failure


async def test_a_service_that_is_not_ready_is_live_all_the_same():
    async with hosted(Named("one"), start=False) as (address, host):
        assert await health_of(address) == "NOT_SERVING"
        assert await health_of(address, "liveness") == "SERVING"
        await host.start()
        assert await health_of(address) == "SERVING"


@contextlib.asynccontextmanager
async def bound(named, **more):
    """Yield a channel to a service that listens and has not started, and its host."""
    service = Service("cache", "test.Named", named.register, "127.0.0.1", 0, Listening(), **more)
    host = Hosted(service)
    try:
        async with aio.insecure_channel(await host.bind()) as channel:
            yield channel, host
    finally:
        await host.stop(0)


async def has_come(channel):
    """Return once what was sent before has come: a later call on the connection is answered."""
    await asyncio.sleep(0)  # so that what was scheduled is sent
    asked = health_pb2.HealthCheckRequest()
    await health_pb2_grpc.HealthStub(channel).Check(asked, timeout=10)


async def test_a_call_that_comes_before_its_service_has_started_waits_for_it():
    named, started = Named("one"), asyncio.Event()
    async with bound(named, start=started.wait) as (channel, host):
        starting, saying = asyncio.create_task(host.start()), asyncio.ensure_future(say(channel))
        await has_come(channel)
        early = named.begun.is_set()
        started.set()
        assert await saying == b"one"
        assert not early
        await starting


async def test_one_that_never_starts_lets_go_of_the_calls_that_wait():
    async with bound(Named("one")) as (channel, host):
        saying = asyncio.ensure_future(say(channel))
        await has_come(channel)
        await host.stop(0)
        with pytest.raises(aio.AioRpcError, match="shutting down"):
            await saying


async def test_one_that_answers_early_does_not_wait():
    async with bound(Named("one"), answers_early=True) as (channel, _):
        assert await say(channel) == b"one"


async def test_parts_of_a_service_have_a_health_of_their_own():
    well = [True]
    parts = {"limits": lambda: well[0]}
    service = Service("x", "x.Y", lambda server: None, "127.0.0.1", 0, parts=parts)
    hosted = Hosted(service)
    address = await hosted.bind()
    try:
        await hosted.start()

        async def becomes(status):
            while await health_of(address, "limits") != status:
                pass

        await becomes("SERVING")
        well[0] = False
        await becomes("NOT_SERVING")
        assert await health_of(address) == "SERVING"
    finally:
        await hosted.stop(0)


async def test_the_health_port_tells_the_same_health_and_serves_nothing_else():
    [port] = free_ports(1)
    async with hosted(Named("one"), start=False, health_port=port) as (address, host):
        beside = f"127.0.0.1:{port}"
        assert await health_of(beside) == "NOT_SERVING"
        await host.start()
        assert await health_of(beside) == await health_of(address) == "SERVING"
        async with aio.insecure_channel(beside) as channel:
            with pytest.raises(aio.AioRpcError) as refused:
                await say(channel)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_health_port_in_use_is_told_by_the_name_of_its_setting():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ConfigError, match=r"in use; stop what uses it or set cache\.health_po"):
            async with hosted(Named("one"), health_port=port):
                pass


async def test_a_connection_past_its_age_is_renewed_without_ending_its_calls():
    named = Named("one")
    named.may.clear()
    async with hosted(named, connection_age_seconds=1) as (address, _):
        dialler = Dialler()
        channel = dialler.channel(address)
        running = asyncio.ensure_future(_awaited(say(channel)))
        await asyncio.wait_for(named.begun.wait(), 10)
        ready = grpc.ChannelConnectivity.READY
        async with asyncio.timeout(20):
            while channel.get_state() is not ready:
                await channel.wait_for_state_change(channel.get_state())
            await channel.wait_for_state_change(ready)  # the first connection has been closed
        assert not running.done()
        named.may.set()
        assert await running == b"one"
        assert await say(channel) == b"one"
        await dialler.close()


async def test_no_call_fails_while_connections_are_renewed():
    named = Named("one")
    async with hosted(named, connection_age_seconds=1) as (address, _):
        dialler = Dialler()
        async with asyncio.timeout(30):
            while len(named.peers) < 3:
                assert await say(dialler.channel(address)) == b"one"
        await dialler.close()


def watching(channel):
    """Watch the health of a service, which asks for no credential."""
    asked = health_pb2.HealthCheckRequest(service="liveness")
    return health_pb2_grpc.HealthStub(channel).Watch(asked, timeout=60)


def reflecting(channel):
    """Ask what a service serves, and say neither that this was all nor anything more."""

    async def asked():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        await asyncio.Event().wait()

    return reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
        asked(), timeout=60
    )


@pytest.mark.parametrize("hold", [watching, reflecting])
async def test_streams_that_need_no_credential_end_with_the_age_of_a_connection(hold):
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        hosted(Named("one"), connections=1, connection_age_seconds=5) as (address, _),
        aio.insecure_channel(address, own) as holding,
        aio.insecure_channel(address, own) as late,
    ):
        held = hold(holding)
        assert await held.read()
        with pytest.raises(aio.AioRpcError):
            await say(late)
        with pytest.raises(aio.AioRpcError, match="ask anew") as ended:
            await held.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await late.unary_unary("/test.Named/Say")(b"", timeout=30, wait_for_ready=True)


async def test_connections_of_the_health_port_grow_old_too():
    [port] = free_ports(1)
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        hosted(Named("one"), connections=2, connection_age_seconds=1, health_port=port),
        aio.insecure_channel(f"127.0.0.1:{port}", own) as idle,
        aio.insecure_channel(f"127.0.0.1:{port}", own) as holding,
        aio.insecure_channel(f"127.0.0.1:{port}", own) as late,
    ):
        held = watching(holding)
        assert await held.read()
        asked = health_pb2.HealthCheckRequest(service="liveness")
        for channel in (idle, late):
            probe = health_pb2_grpc.HealthStub(channel).Check
            assert await probe(asked, timeout=30, wait_for_ready=True)
        with pytest.raises(aio.AioRpcError, match="ask anew"):
            await held.read()


def silent(address):
    """Connect and say nothing; every wait for an answer has an end."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


async def told(connection, size):
    """What comes first on a connection: `b""` where it is closed."""
    return await asyncio.to_thread(connection.recv, size)


async def test_a_connection_beyond_the_bound_is_closed_at_once_and_others_are_served():
    async with hosted(Named("one"), connections=3) as (address, _):
        async with aio.insecure_channel(address) as channel:
            assert await say(channel) == b"one"
            held = [silent(address) for _ in range(2)]
            beyond = silent(address)
            assert await told(beyond, 1) == b""
            assert await say(channel) == b"one"
            own = [("grpc.use_local_subchannel_pool", 1)]  # no connection of the first channel's
            async with aio.insecure_channel(address, own) as late:
                with pytest.raises(aio.AioRpcError) as refused:
                    await say(late)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "`connections`" in handshake_failure(address, refused.value.details())
                held.pop().close()
                ask = late.unary_unary("/test.Named/Say")  # one has left, so there is room
                assert await ask(b"", timeout=30, wait_for_ready=True) == b"one"
        for one in (*held, beyond):
            one.close()


@pytest.mark.slow
async def test_who_does_not_begin_to_speak_is_hung_up_on():
    async with hosted(Named("one")) as (address, _):
        with silent(address) as connection:
            while await told(connection, 64):
                pass  # what a server says first (RFC 9113, 3.4)


async def _awaited(call):
    return await call


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def heard_of_both(channel):
    heard = set()
    async with asyncio.timeout(20):
        while len(heard) < 2:
            heard.add(await say(channel))


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_calls_to_a_name_go_to_all_its_replicas_in_turn():
    async with hosted(Named("one")) as (first, _):
        port = int(first.rpartition(":")[2])
        async with hosted(Named("two"), "::1", port):
            dialler = Dialler()
            channel = dialler.channel(f"localhost:{port}")
            await heard_of_both(channel)
            assert {await say(channel), await say(channel)} == {b"one", b"two"}
            assert {await say(channel), await say(channel)} == {b"one", b"two"}
            await dialler.close()


async def test_calls_go_on_at_the_other_replica_when_one_goes():
    one, two = Named("one"), Named("two")
    async with hosted(one) as (first, _), hosted(two) as (second, leaving):
        dialler = Dialler()
        channel = dialler.channel(f"ipv4:{first},{second}")
        await heard_of_both(channel)
        await leaving.stop(grace=0)
        async with asyncio.timeout(20):
            while channel.get_state() is not grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(channel.get_state())
        assert {await say(channel) for _ in range(4)} == {b"one"}
        await dialler.close()


async def test_a_name_behind_which_nobody_was_for_a_while_is_dialled_anew(monkeypatch):
    [port] = free_ports(1)
    never = ("initial", "min", "max")
    options = [(f"grpc.{which}_reconnect_backoff_ms", 600_000) for which in never]
    options.append(("grpc.use_local_subchannel_pool", 1))
    monkeypatch.setattr(renewing, "_LOST_SECONDS", 0.1)
    channel = RenewingChannel(f"localhost:{port}", None, tuple(options))
    alone = aio.insecure_channel(f"localhost:{port}", options=options)
    for one in (alone, channel):
        with pytest.raises(aio.AioRpcError):
            await say(one)
    async with hosted(Named("one"), port=port):
        with pytest.raises(aio.AioRpcError):  # gRPC by itself does not look again
            await say(alone)
        assert await until(lambda: _said(channel)) == b"one"
        assert await say(channel) == b"one"
    await channel.close()
    await alone.close()


async def _said(channel):
    try:
        return await say(channel)
    except aio.AioRpcError:
        return None


@pytest.mark.slow
async def test_a_connection_without_calls_is_asked_whether_it_is_there_and_stays():
    named, dialler = Named("one"), Dialler()
    async with hosted(named) as (address, _):
        channel = dialler.channel(address)
        await say(channel)
        for _ in range(2):
            await asyncio.sleep(9)  # more pings than gRPC's own servers would stand
            await say(channel)
        await dialler.close()
    assert len(named.peers) == 1
