"""Channels by address, of which only so many are kept."""

from __future__ import annotations

import asyncio

from llmrouter.common import dialling
from llmrouter.common.dialling import Dialler


class FakeChannel:
    def __init__(self, address):
        self.address = address
        self.grace = None

    async def close(self, grace=None):
        self.grace = grace or 0.0


async def test_past_its_bound_the_oldest_channel_is_closed_with_time_for_its_calls(monkeypatch):
    monkeypatch.setattr(dialling, "_MAX_CHANNELS", 2)
    monkeypatch.setattr(
        dialling.aio, "insecure_channel", lambda address, options: FakeChannel(address)
    )
    dialler = Dialler()
    first, second, third = (dialler.channel(address) for address in ("a:1", "b:1", "c:1"))
    assert dialler.channel("c:1") is third
    await asyncio.sleep(0)
    assert (first.grace, second.grace, third.grace) == (60.0, None, None)
    await dialler.close()
    assert (second.grace, third.grace) == (0.0, 0.0)
