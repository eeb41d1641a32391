"""The event loop goes on turning while files are read, texts tokenized and answers stored.

Work that takes long is made to wait until the loop has turned: on the loop it would wait in vain.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
from grpc import aio
from tests.integration.embedding.tiny_encoder import write_encoder
from tests.integration.engine.tiny_model import write_tiny_folder

from llmrouter import suite
from llmrouter.cache.lmdb_store import LmdbStore
from llmrouter.inference.backends import onnx_embedder, onnxruntime
from llmrouter.inference.backends.constraints import Constraints
from llmrouter.inference.backends.encoding import TextEncoder
from llmrouter.inference.models import integrity, opening
from llmrouter.inference.models.alias_file import AliasFile
from llmrouter.inference.models.memory_reader import MemoryReader
from llmrouter.inference.models.template import ChatTemplate
from llmrouter.inference.models.text import ModelText
from llmrouter.selector.state_store import SqliteState
from llmrouter.v1 import model_pb2
from llmrouter.v1.model_pb2_grpc import ModelServiceStub
from llmrouter_client import AsyncClient, Message

HANGING = 10
LONG_WORK = [
    (opening, "read_folder"),
    (opening, "load_text"),
    (opening, "read_embedding_folder"),
    (integrity, "check_contents"),
    (onnxruntime, "load_decoder"),
    (onnx_embedder, "open_encoder"),
    (AliasFile, "read"),
    (AliasFile, "move"),
    (MemoryReader, "read"),
    (ModelText, "encode_chat"),
    (ModelText, "encode"),
    (ChatTemplate, "render"),
    (TextEncoder, "_encode"),
    (Constraints, "_compile"),
    (LmdbStore, "__init__"),
    (LmdbStore, "get"),
    (LmdbStore, "put"),
    (SqliteState, "_load"),
    (SqliteState, "_close"),
]


class Watched:
    """Stands before long work and notes under its name whether the loop turned meanwhile."""

    def __init__(self, monkeypatch):
        self._loop = asyncio.get_running_loop()
        self._monkeypatch = monkeypatch
        self.turned = {}

    def watch(self, owner, name):
        work, told = getattr(owner, name), f"{owner.__name__}.{name}"

        def waiting(*args, **options):
            turned = threading.Event()
            self._loop.call_soon_threadsafe(turned.set)
            self.turned[told] = turned.wait(HANGING) and self.turned.get(told, True)
            return work(*args, **options)

        self._monkeypatch.setattr(owner, name, waiting)
        return told


@pytest.fixture
async def watched(monkeypatch):
    return Watched(monkeypatch)


async def test_a_double_that_runs_on_the_loop_is_seen(watched, monkeypatch):
    monkeypatch.setattr(f"{__name__}.HANGING", 0.1)

    class Work:
        @staticmethod
        def beside():
            return 1

        @staticmethod
        def on_it():
            return 2

    beside, on_it = watched.watch(Work, "beside"), watched.watch(Work, "on_it")
    assert (await asyncio.to_thread(Work.beside), Work.on_it()) == (1, 2)
    assert watched.turned == {beside: True, on_it: False}


@pytest.mark.timeout(300)
async def test_no_long_work_stops_the_loop(watched, config, tmp_path):
    write_tiny_folder(tmp_path / "store" / "tiny")
    write_encoder(tmp_path / "store" / "encoder")
    path, _ = config
    named = {watched.watch(*one) for one in LONG_WORK}
    async with suite.running(path, store=tmp_path / "store") as addresses:
        await load(addresses.inference, "tiny", "stable")
        await load(addresses.inference, "encoder")
        async with AsyncClient(addresses.gateway) as client:
            for _ in range(2):
                await client.generate(
                    [Message("user", "hi")],
                    temperature=0,
                    max_tokens=4,
                    response_format={"regex": "[a-z]+"},
                )
            await client.generate("hi", raw=True, max_tokens=2)
            await client.embed(["red"], model="encoder")
    assert [name for name, turned in watched.turned.items() if not turned] == []
    assert named - watched.turned.keys() == set(), "was never called"


async def load(address, model, *aliases):
    async with aio.insecure_channel(address) as channel:
        request = model_pb2.ModelServiceLoadRequest(model=model, aliases=aliases)
        async for _ in ModelServiceStub(channel).Load(request, timeout=60):
            pass
