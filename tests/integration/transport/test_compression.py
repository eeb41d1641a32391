"""Who asks gets large messages compressed, counted on the wire; nobody else does."""

import asyncio
import contextlib
import random

import pytest
from tests.unit.client.fake_gateway import FINISHED, STARTED, FakeGateway

from llmrouter.common.guard import Gate
from llmrouter.common.listening import Listening
from llmrouter.common.server import ServiceServer
from llmrouter.v1 import generation_pb2 as g
from llmrouter.v1.gateway_pb2_grpc import add_GatewayServiceServicer_to_server
from llmrouter_client import AsyncClient, Delta, LlmrouterError

_KNOWN = ["river", "mountain", "of", "the", "sea"]
WORDS = " ".join(random.Random(1).choices(_KNOWN, k=4000))  # noqa: S311
SMALL = [g.GenerationEvent(delta=g.Delta(text=WORDS[at : at + 500], tokens=9)) for at in range(60)]
"""Deltas of half a kilobyte, which gzip would halve."""
LARGE = [g.GenerationEvent(delta=g.Delta(text=WORDS, tokens=4000))]
END = g.GenerationEvent(finished=FINISHED)


def script(deltas):
    return [g.GenerationEvent(started=STARTED), *deltas, END]


@contextlib.asynccontextmanager
async def serving(gateway, **listening):
    server = ServiceServer(
        "gateway",
        ("llmrouter.v1.GatewayService",),
        lambda served: add_GatewayServiceServicer_to_server(gateway, served),
        Gate("gateway"),
        Listening(**listening),
    )
    port = await server.start("127.0.0.1", 0)
    yield port
    await server.drain(0)


class Wire:
    """A line between caller and server that counts what passes."""

    def __init__(self, port):
        self.port, self.up, self.down, self.address = port, 0, 0, ""

    async def _line(self, reader, writer):
        inner, outer = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.gather(self._pass(reader, outer, "up"), self._pass(inner, writer, "down"))

    async def _pass(self, reader, writer, way):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                setattr(self, way, getattr(self, way) + len(data))
                writer.write(data)
                await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def open(self):
        server = await asyncio.start_server(self._line, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield self
        server.close()


async def carried(deltas, prompt="hi", listening=None, **options):
    """Return the bytes that one streamed question and its answer take on the wire."""
    async with (
        serving(FakeGateway(script(deltas)), **(listening or {})) as port,
        Wire(port).open() as wire,
        AsyncClient(wire.address) as client,
    ):
        events = [event async for event in client.stream(prompt, **options)]
    said = "".join(event.text for event in events if isinstance(event, Delta))
    assert said == "".join(event.delta.text for event in deltas)
    return wire


async def test_a_large_answer_is_compressed_for_those_who_ask():
    plain, packed = await carried(LARGE), await carried(LARGE, compression="gzip")
    assert packed.down < plain.down / 2


async def test_smaller_messages_are_not():
    plain, packed = await carried(SMALL), await carried(SMALL, compression="gzip")
    assert packed.down == pytest.approx(plain.down, rel=0.05)


async def test_a_large_question_is_compressed_too():
    plain, packed = await carried(SMALL, WORDS), await carried(SMALL, WORDS, compression="gzip")
    assert packed.up < plain.up / 2


async def test_a_server_may_be_set_to_compress_nothing():
    never = {"compress_from_bytes": None}
    plain = await carried(LARGE)
    packed = await carried(LARGE, listening=never, compression="gzip")
    assert packed.down == pytest.approx(plain.down, rel=0.05)


async def test_another_way_of_compressing_is_refused():
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(LlmrouterError, match="compression"):
            await client.generate("hi", compression="brotli")
