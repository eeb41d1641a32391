"""A client of several gateways: all are asked in turn, and one that is away costs no answer."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest
from tests.support.ports import free_ports
from tests.support.waiting import until
from tests.unit.client.fake_gateway import FakeGateway, serving, whole_answer

from llmrouter.common.errors import Reason, RouterError
from llmrouter_client import AsyncClient, Delta, LlmrouterError, gateways


def nowhere():
    """Return an address at which nothing listens."""
    return f"127.0.0.1:{free_ports(1)[0]}"


@contextlib.asynccontextmanager
async def asking(*gateways, **options):
    async with contextlib.AsyncExitStack() as stack:
        addresses = [
            one if isinstance(one, str) else await stack.enter_async_context(serving(one))
            for one in gateways
        ]
        yield await stack.enter_async_context(AsyncClient(addresses, **options))


async def test_calls_go_to_all_of_them():
    first, second = FakeGateway(), FakeGateway()
    async with asking(first, second) as client:
        for _ in range(20):
            await client.generate("hi")
    assert min(len(first.requests), len(second.requests)) >= 5


async def test_one_that_is_not_there_costs_no_answer():
    there = FakeGateway()
    async with asking(nowhere(), nowhere(), there) as client:
        for _ in range(5):
            assert (await client.generate("hi")).text
        async with client.stream("hi") as stream:
            assert [event async for event in stream if isinstance(event, Delta)]
        assert [one async for one in client.batch(["a", "b"])]
        async with client.converse() as talk:
            assert await (await talk.say("hi")).text()


async def test_one_that_drains_is_left_at_once_and_alone_for_a_while():
    away = FakeGateway([RouterError(Reason.DRAINING, "shuts down", retry_after=60)])
    there = FakeGateway()
    async with asking(away, there, timeout=20) as client:
        for _ in range(10):
            assert (await client.generate("hi")).text
        for _ in range(4):
            assert [event async for event in client.stream("hi")]
    assert len(away.requests) == 1
    assert len(there.requests) == 14


async def test_what_a_gateway_has_no_model_for_is_not_held_against_it():
    none = [RouterError(Reason.MODEL_UNAVAILABLE, "all are away")]
    first, second = FakeGateway(none, whole_answer()), FakeGateway(none, whole_answer())
    async with asking(first, second) as client:
        for _ in range(8):
            assert (await client.generate("hi")).text
    assert min(len(first.requests), len(second.requests)) >= 3


async def test_when_all_are_away_the_last_one_asked_is_named():
    addresses = [nowhere(), nowhere()]
    async with AsyncClient(addresses, retries=2) as client:
        with pytest.raises(LlmrouterError, match="nothing answers at") as told:
            await client.generate("hi")
    assert any(address in told.value.message for address in addresses)


@pytest.mark.parametrize("address", [[], ["localhost:1", "localhost"], [3], {"localhost:1": 1}])
def test_what_is_no_list_of_addresses_is_refused(address):
    with pytest.raises(LlmrouterError, match="address"):
        AsyncClient(address)


async def test_a_gateway_that_was_away_for_a_while_is_dialled_anew(monkeypatch):
    never = ("initial", "min", "max")
    options = [(f"grpc.{which}_reconnect_backoff_ms", 600_000) for which in never]
    options.append(("grpc.use_local_subchannel_pool", 1))
    monkeypatch.setattr(gateways, "_CHANNEL_OPTIONS", options)
    monkeypatch.setattr(gateways, "_LOST_SECONDS", 600.0)
    address = nowhere()
    async with AsyncClient(address, retries=0) as alone, AsyncClient(address, retries=0) as client:
        with pytest.raises(LlmrouterError):
            await alone.generate("hi")
        with pytest.raises(LlmrouterError):  # looks no further for ten minutes
            await alone.generate("hi")
        monkeypatch.setattr(gateways, "_LOST_SECONDS", 0.1)
        with pytest.raises(LlmrouterError):
            await client.generate("hi")
        async with serving(FakeGateway(), at=address):
            with pytest.raises(LlmrouterError):  # gRPC by itself would not look again
                await alone.generate("hi")
            assert (await answered(client)).text
            assert (await client.generate("hi")).text


async def answered(client):
    """Ask until there is an answer."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(LlmrouterError):
                return await client.generate("hi")


class FakeChannel:
    """Is in the state that it is told."""

    def __init__(self):
        self.state = grpc.ChannelConnectivity.IDLE
        self.graces = []

    def get_state(self, try_to_connect=False):
        return self.state

    def unary_unary(self, *_, **__):
        return self

    unary_stream = stream_unary = stream_stream = unary_unary

    async def wait_for_state_change(self, last):
        await until(lambda: self.state is not last, pause=0)

    async def close(self, grace=None):
        self.graces.append(grace)


@pytest.fixture
def dialled(monkeypatch):
    """Channels in the order in which they were dialled; nobody is given time to come back."""
    made = []

    def dial(address, options):
        made.append(FakeChannel())
        return made[-1]

    monkeypatch.setattr(gateways.aio, "insecure_channel", dial)
    monkeypatch.setattr(gateways, "_LOST_SECONDS", 0.0)
    monkeypatch.setattr(gateways, "_MAX_LOOKS", 1_000_000)
    return made


def used(gateway):
    """Return the channel that a call goes over."""
    return gateway.stub.Generate


async def lost(dialled):
    """Return a gateway that is not reached, beside whose channel another one was dialled."""
    gateway = gateways.Gateway("gateway:1", None)
    used(gateway).state = grpc.ChannelConnectivity.TRANSIENT_FAILURE
    assert used(gateway) is dialled[0]
    await until(lambda: len(dialled) > 1)
    return gateway


async def rounds():
    """Let everything that can go on do so."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_while_nobody_is_reached_the_known_addresses_stay_in_use(dialled):
    gateway = await lost(dialled)
    dialled[1].state = grpc.ChannelConnectivity.CONNECTING  # the name servers say nothing
    await rounds()
    assert used(gateway) is dialled[0]
    dialled[0].state = grpc.ChannelConnectivity.READY
    await rounds()
    assert used(gateway) is dialled[0]
    assert [one.graces for one in dialled] == [[], [gateways._GRACE_SECONDS]]
    await gateway.close()


async def test_the_channel_beside_takes_over_once_it_is_connected_without_a_call(dialled):
    gateway = await lost(dialled)
    dialled[1].state = grpc.ChannelConnectivity.TRANSIENT_FAILURE
    await until(lambda: len(dialled) > 2)
    dialled[2].state = grpc.ChannelConnectivity.READY
    await rounds()
    assert [bool(one.graces) for one in dialled] == [True, True, False]
    assert used(gateway) is used(gateway) is dialled[2]
    await gateway.close()
    assert all(one.graces for one in dialled)


async def test_who_stays_away_is_looked_for_again_only_once_a_call_wants_it(dialled, monkeypatch):
    monkeypatch.setattr(gateways, "_MAX_LOOKS", 3)
    gateway = await lost(dialled)
    await rounds()
    assert len(dialled) == 2
    used(gateway)
    await until(lambda: len(dialled) > 2)
    await gateway.close()


async def test_a_call_that_pauses_for_another_try_ends_with_the_client():
    client = AsyncClient(nowhere(), retries=50)
    call = asyncio.ensure_future(client.generate("hi"))
    await asyncio.sleep(0.05)
    await client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        await asyncio.wait_for(call, 30)
