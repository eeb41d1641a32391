"""A channel that is dialled anew beside the one in use, which goes on until the other is there."""

from __future__ import annotations

import asyncio
import gc
import weakref

import grpc
import pytest
from tests.support.waiting import until

from llmrouter.common import renewing
from llmrouter.common.renewing import RenewingChannel
from llmrouter.common.tls import Credentials

IDLE = grpc.ChannelConnectivity.IDLE
CONNECTING = grpc.ChannelConnectivity.CONNECTING
READY = grpc.ChannelConnectivity.READY
AWAY = grpc.ChannelConnectivity.TRANSIENT_FAILURE


class FakeChannel:
    """Is in the state that it is told, and answers with its number."""

    def __init__(self, number, held):
        self.number = number
        self.held = held
        self.state = IDLE
        self.begun = False
        self.closed = False

    def get_state(self, try_to_connect=False):
        self.begun = self.begun or try_to_connect
        return self.state

    async def wait_for_state_change(self, last):
        await until(lambda: self.state is not last, pause=0)

    def unary_unary(self, method):
        return lambda request: (self.number, method, request)

    async def close(self, grace=None):
        self.closed = True


class Files:
    def __init__(self):
        self.held = Credentials(certificate=b"first", key=b"key", ca=b"ca")

    def current(self):
        return self.held

    def renew(self, ca=b"ca"):
        self.held = Credentials(certificate=b"renewed", key=b"key", ca=ca)


@pytest.fixture
def dialled(monkeypatch):
    """Channels in the order in which they were dialled."""
    made = []

    def dial(address, held=None, options=()):
        made.append(FakeChannel(len(made), held))
        return made[-1]

    monkeypatch.setattr(renewing.aio, "insecure_channel", dial)
    monkeypatch.setattr(renewing.aio, "secure_channel", dial)
    monkeypatch.setattr(renewing.grpc, "ssl_channel_credentials", lambda *parts: parts)
    return made


class Calling:
    def __init__(self, files=None):
        self.channel = RenewingChannel("svc:1", files, ())
        self._say = self.channel.unary_unary("/Say")

    def used(self):
        """Return the number of the channel that a call goes over."""
        return self._say(b"")[0]


@pytest.fixture
async def begin():
    """Begins calls over channels; what they watch ends with the test."""
    begun = []

    def calls(files=None):
        begun.append(Calling(files))
        return begun[-1]

    yield calls
    for calling in begun:
        await calling.channel.close()


@pytest.fixture
def at_once(monkeypatch):
    """Nobody who is away is given time to come back."""
    monkeypatch.setattr(renewing, "_LOST_SECONDS", 0.0)
    monkeypatch.setattr(renewing, "_MAX_LOOKS", 1_000_000)


async def lost(begin, dialled):
    """Begin calls over a channel that reaches nobody, beside which another one was dialled."""
    calling = begin()
    calling.used()
    dialled[0].state = AWAY
    await until(lambda: len(dialled) > 1)
    dialled[1].state = CONNECTING
    return calling


async def rounds(count=50):
    """Let everything that can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_that_was_just_lost_is_given_time(dialled, begin):
    calling = begin()
    calling.used()
    dialled[0].state = AWAY
    await rounds()
    assert (calling.used(), len(dialled)) == (0, 1)
    dialled[0].state = READY
    await rounds()
    assert (calling.used(), len(dialled)) == (0, 1)


@pytest.mark.usefixtures("at_once")
async def test_while_nobody_is_reached_the_known_addresses_stay_in_use(dialled, begin):
    calling = await lost(begin, dialled)
    assert dialled[1].begun
    await rounds()  # the name servers say nothing
    assert (calling.used(), len(dialled)) == (0, 2)
    dialled[0].state = READY
    await rounds()
    assert (calling.used(), len(dialled)) == (0, 2)


@pytest.mark.usefixtures("at_once")
async def test_the_channel_beside_takes_over_once_it_is_connected_and_is_watched_itself(
    dialled, begin
):
    calling = await lost(begin, dialled)
    dialled[1].state = READY
    await rounds()
    dialled[1].state = AWAY  # without a call in between
    await until(lambda: len(dialled) > 2)
    assert calling.used() == 1
    dialled[2].state = READY
    await rounds()
    assert (calling.used(), len(dialled)) == (2, 3)


@pytest.mark.usefixtures("at_once")
async def test_the_channel_beside_is_dropped_when_the_old_one_is_back(dialled, begin):
    await lost(begin, dialled)
    beside = weakref.ref(dialled.pop())
    dialled[0].state = READY
    await rounds()
    gc.collect()
    assert beside() is None


@pytest.mark.usefixtures("at_once")
async def test_one_beside_that_fails_itself_is_dialled_anew_without_a_call(dialled, begin):
    await lost(begin, dialled)
    dialled[1].state = AWAY
    await until(lambda: len(dialled) > 2)
    dialled[2].state = AWAY
    await until(lambda: len(dialled) > 3)


@pytest.mark.usefixtures("at_once")
async def test_who_stays_away_is_looked_for_again_only_once_a_call_wants_it(
    dialled, begin, monkeypatch
):
    monkeypatch.setattr(renewing, "_MAX_LOOKS", 3)
    calling = await lost(begin, dialled)
    await rounds(100)
    assert len(dialled) == 2
    calling.used()
    await until(lambda: len(dialled) > 2)


async def test_renewed_certificates_take_over_once_a_connection_with_them_is_there(dialled, begin):
    files = Files()
    calling = begin(files)
    calling.used()
    dialled[0].state = READY
    files.renew()
    assert (calling.used(), calling.used(), len(dialled)) == (0, 0, 2)
    assert dialled[1].held == (b"ca", b"key", b"renewed")
    dialled[1].state = AWAY  # the connection of before is good still
    assert (calling.used(), len(dialled)) == (0, 2)
    dialled[1].state = READY
    assert (calling.used(), len(dialled)) == (1, 2)


@pytest.mark.parametrize("state", [IDLE, CONNECTING, AWAY])
async def test_renewed_certificates_are_shown_at_once_where_no_connection_is(dialled, begin, state):
    files = Files()
    calling = begin(files)
    calling.used()
    dialled[0].state = state
    files.renew()
    assert calling.used() == 1


async def test_who_is_no_longer_believed_is_asked_no_more(dialled, begin):
    files = Files()
    calling = begin(files)
    calling.used()
    dialled[0].state = READY
    files.renew(ca=b"another")
    assert calling.used() == 1


@pytest.mark.usefixtures("at_once")
async def test_a_method_that_is_never_called_again_keeps_no_channel(dialled, begin):
    calling = await lost(begin, dialled)
    rare = calling.channel.unary_unary("/Rare")
    assert (rare(b"")[0], calling.used()) == (0, 0)
    before = weakref.ref(dialled[0])
    dialled[1].state = READY
    await rounds()
    assert calling.used() == 1
    dialled.clear()
    gc.collect()
    assert before() is None
    assert rare(b"x") == (1, "/Rare", b"x")


@pytest.mark.usefixtures("at_once")
async def test_one_that_is_let_go_for_its_certificates_is_watched_no_more(dialled, begin):
    files = Files()
    calling = begin(files)
    calling.used()
    files.renew(ca=b"another")
    assert calling.used() == 1
    before = weakref.ref(dialled.pop(0))
    await rounds()
    gc.collect()
    assert before() is None
    dialled[0].state = AWAY
    await until(lambda: len(dialled) > 1)


@pytest.mark.usefixtures("at_once")
async def test_closing_closes_the_one_beside_too_and_ends_the_looking(dialled, begin):
    calling = await lost(begin, dialled)
    await calling.channel.close()
    assert [one.closed for one in dialled] == [True, True]
    dialled[1].state = AWAY
    await rounds()
    assert len(dialled) == 2
