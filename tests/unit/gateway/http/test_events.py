"""Server-sent events: whom nobody reads they end for, and what fails is not hidden."""

from __future__ import annotations

import asyncio

import pytest

from llmrouter.gateway.http import live
from llmrouter.gateway.http.calls import EventStream
from llmrouter.gateway.http.live import _FrameStream


async def staying():
    await asyncio.Event().wait()


async def failing():
    raise TimeoutError("a lookup took too long")
    yield {}


async def frames(ended):
    try:
        while True:
            yield b"{}"
    finally:
        ended.append(True)


async def test_a_page_that_does_not_read_is_taken_for_gone(monkeypatch):
    monkeypatch.setattr(live, "_PATIENCE_SECONDS", 0.01)
    ended, sent = [], []

    async def send(message):
        sent.append(message["type"])
        if len(sent) > 3:
            await asyncio.Event().wait()

    stream = _FrameStream(b"{}", frames(ended), lambda: None)
    await asyncio.wait_for(stream({}, staying, send), 20)
    assert ended == [True]
    assert sent == ["http.response.start", *["http.response.body"] * 3]


async def test_a_time_that_passes_elsewhere_is_no_reader_that_left():
    async def send(_):
        pass

    with pytest.raises(TimeoutError, match="a lookup"):
        await EventStream(failing(), {})({}, staying, send)
