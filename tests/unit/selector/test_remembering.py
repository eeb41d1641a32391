"""What services held is kept over a restart: their models are away then, and not unknown."""

from __future__ import annotations

import json
from dataclasses import replace

import grpc
import pytest
from tests.unit.selector.building import served

from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.made_from import encode_served
from llmrouter.selector.remembering import KIND, ServedMemory
from llmrouter.selector.service import build
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.wire_placement import MAX_MODELS
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1 import selector_pb2, selector_pb2_grpc


class Store:
    """Documents in memory."""

    def __init__(self):
        self.documents, self.puts = {}, 0

    def put(self, kind, key, data):
        assert kind == KIND
        self.puts += 1
        if data is None:
            del self.documents[key]
        else:
            self.documents[key] = json.loads(json.dumps(data))


async def restarted(inference, store, watching, **options):
    """A watcher of a selector that has begun anew, as `build` composes it."""
    memory = ServedMemory([inference.address], store, wall=lambda: 1.5)
    held = memory.restore(dict(store.documents))
    watcher = await watching(inference.address, told=memory.told, remembering=held, **options)
    return watcher, memory


async def test_what_served_before_a_restart_is_away_until_its_service_is_heard_of(
    inference, watching
):
    store = Store()
    before, _ = await restarted(inference, store, watching, interval=0.05)
    [one, _] = before.served()
    await before.close()
    assert store.puts == 1  # loads change all the time, and are not kept
    assert store.documents[inference.address]["seen"] == 1.5
    await inference.server.stop(None)
    later, _ = await restarted(inference, store, watching, patience=0.5, interval=0.05)
    [known] = later.served()
    assert (known.name, known.version) == (one.name, one.version)
    assert known == replace(one, silent=True, ready=False, running=0, waiting=0, cache_bytes=0)
    assert not later.heard()
    assert later.nodes() == ()
    with pytest.raises(RouterError) as refused:
        build_catalog([], later.served()).resolve("x")
    assert refused.value.reason is Reason.UNKNOWN_MODEL
    assert [one.away for one in build_catalog([], later.served()).resolve("m@v")] == [True]


async def test_what_a_service_tells_after_a_restart_takes_the_place_of_what_is_remembered(
    inference, watching
):
    store = Store()
    before, _ = await restarted(inference, store, watching)
    await before.close()
    inference.models[0] = pb.LoadedModel(name="m", state=pb.MODEL_STATE_LOADING)
    later, _ = await restarted(inference, store, watching)
    assert [(one.name, one.version, one.ready) for one in later.served() if not one.error] == [
        ("m", "", False)  # it may be another version by now
    ]
    assert store.documents == {}


def test_what_cannot_be_read_or_is_watched_no_more_is_left_out(caplog):
    store = Store()
    store.documents = {"gone:1": {"models": []}, "host:1": {"models": [{"name": 7}]}, "host:2": {}}
    assert ServedMemory(["host:1", "host:2"], store).restore(dict(store.documents)) == {}
    assert set(store.documents) == {"host:1", "host:2"}
    assert "what host:1 held cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("context", "abc"),
        ("context", 10**30),
        ("version", 7),
        ("slots", None),
        ("names", [1, "a"]),
        ("quality_ratio", 3.0),
        ("step_seconds", -1.0),
        ("priors", {"time_to_first_token": 0.0, "seconds_per_token": 0.0}),
        ("priors", {"time_to_first_token": "x", "seconds_per_token": 1.0}),
    ],
)
def test_an_address_whose_memory_holds_what_no_service_tells_is_left_out(field, value, caplog):
    known = encode_served(served("m"))
    documents = {"host:1": {"models": [known, {**known, field: value}]}}
    documents["host:2"] = {"models": [known]}
    memory = ServedMemory(list(documents), Store())
    assert memory.restore(documents) == {"host:2": (served("m", address="host:2"),)}
    assert "what host:1 held cannot be read" in caplog.text


def test_of_one_address_no_more_is_remembered_than_is_listened_to():
    known = encode_served(served("m"))
    models = [{**known, "name": f"m{number}"} for number in range(MAX_MODELS + 1)]
    held = ServedMemory(["host:1"], Store()).restore({"host:1": {"models": models}})
    assert len(held["host:1"]) == MAX_MODELS


async def versions_of(inference, folder):
    """What a selector of this folder tells of versions, by name and whether they are away."""
    chosen = {"inference_addresses": (inference.address,), "refresh_interval_seconds": 0.1}
    dialler = Dialler()
    service = await build(SelectorSettings(catalog=(), **chosen), dialler, folder)
    server = grpc.aio.server()
    service.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await service.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = selector_pb2_grpc.SelectorServiceStub(channel)
            told = await stub.ListVersions(selector_pb2.ListVersionsRequest(), timeout=5)
            return {(one.model, one.version): one.away for one in told.versions}
    finally:
        await server.stop(None)
        await service.close()
        await dialler.close()


async def test_a_selector_that_has_begun_anew_knows_what_is_away(inference, tmp_path):
    assert await versions_of(inference, tmp_path) == {("m", "v"): False}
    await inference.server.stop(None)
    assert await versions_of(inference, tmp_path) == {("m", "v"): True}
    assert await versions_of(inference, tmp_path / "another") == {}
