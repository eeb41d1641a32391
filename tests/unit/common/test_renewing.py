"""A channel that is dialled anew beside the one in use, which goes on until the other is there."""

from __future__ import annotations

import gc
import weakref

import grpc
import pytest
from tests.unit.selector.building import Clock

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
        self.clock = Clock()
        self.channel = RenewingChannel("svc:1", files, (), self.clock)
        self._say = self.channel.unary_unary("/Say")

    def used(self):
        """Return the number of the channel that a call goes over."""
        return self._say(b"")[0]

    def used_later(self, seconds=5):
        self.clock.now += seconds
        return self.used()


def test_while_nobody_is_reached_the_known_addresses_stay_in_use(dialled):
    calling = Calling()
    calling.used()
    dialled[0].state = AWAY
    assert (calling.used(), calling.used_later(4.9), len(dialled)) == (0, 0, 1)
    assert (calling.used_later(0.1), len(dialled)) == (0, 2)
    assert dialled[1].begun
    dialled[1].state = CONNECTING  # the name servers say nothing
    assert [calling.used_later() for _ in range(10)] == [0] * 10
    assert len(dialled) == 2
    dialled[0].state = READY
    assert (calling.used_later(), calling.used_later(), len(dialled)) == (0, 0, 2)


def test_the_channel_beside_takes_over_once_it_is_connected(dialled):
    calling = Calling()
    calling.used()
    dialled[0].state = AWAY
    calling.used()
    calling.used_later()
    dialled[1].state = READY
    assert (calling.used(), calling.used_later(), len(dialled)) == (1, 1, 2)


def test_the_channel_beside_is_dropped_when_the_old_one_is_back(dialled):
    calling = Calling()
    calling.used()
    dialled[0].state = AWAY
    calling.used()
    calling.used_later()
    beside = weakref.ref(dialled.pop())
    dialled[0].state = READY
    calling.used()
    gc.collect()
    assert beside() is None


def test_one_beside_that_fails_itself_is_dialled_anew_every_five_seconds(dialled):
    calling = Calling()
    calling.used()
    dialled[0].state = AWAY
    calling.used()
    calling.used_later()
    dialled[1].state = AWAY
    assert (calling.used(), calling.used_later(4.9), len(dialled)) == (0, 0, 2)
    assert (calling.used_later(0.1), len(dialled)) == (0, 3)


def test_renewed_certificates_take_over_once_a_connection_with_them_is_there(dialled):
    files = Files()
    calling = Calling(files)
    calling.used()
    dialled[0].state = READY
    files.renew()
    assert (calling.used(), calling.used_later(), len(dialled)) == (0, 0, 2)
    assert dialled[1].held == (b"ca", b"key", b"renewed")
    dialled[1].state = AWAY  # the connection of before is good still
    assert (calling.used_later(), len(dialled)) == (0, 2)
    dialled[1].state = READY
    assert (calling.used(), len(dialled)) == (1, 2)


@pytest.mark.parametrize("state", [IDLE, CONNECTING, AWAY])
def test_renewed_certificates_are_shown_at_once_where_no_connection_is(dialled, state):
    files = Files()
    calling = Calling(files)
    calling.used()
    dialled[0].state = state
    files.renew()
    assert calling.used() == 1


def test_who_is_no_longer_believed_is_asked_no_more(dialled):
    files = Files()
    calling = Calling(files)
    calling.used()
    dialled[0].state = READY
    files.renew(ca=b"another")
    assert calling.used() == 1


def test_a_method_that_is_never_called_again_keeps_no_channel(dialled):
    calling = Calling()
    rare = calling.channel.unary_unary("/Rare")
    assert (rare(b"")[0], calling.used()) == (0, 0)
    before = weakref.ref(dialled[0])
    dialled[0].state = AWAY
    calling.used()
    calling.used_later()
    dialled[1].state = READY
    assert calling.used() == 1
    dialled.clear()
    gc.collect()
    assert before() is None
    assert rare(b"x") == (1, "/Rare", b"x")


async def test_closing_closes_the_one_beside_too(dialled):
    calling = Calling()
    calling.used()
    dialled[0].state = AWAY
    calling.used()
    calling.used_later()
    await calling.channel.close()
    assert [one.closed for one in dialled] == [True, True]
