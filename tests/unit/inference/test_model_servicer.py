"""Models over gRPC, without a socket and without computing: load, unload, list, watch."""

from __future__ import annotations

import asyncio

import pytest
from grpc import aio
from tests.unit.inference.models.fake_backend import (
    PROMPTLY,
    WHO,
    FakeBackends,
    put,
    registry_of,
)

from llmrouter.common.guard import Gate
from llmrouter.common.inprocess import InProcessChannel, InProcessServer
from llmrouter.common.wire import duration
from llmrouter.common.wire_errors import from_rpc_error
from llmrouter.inference import model_servicer
from llmrouter.inference.cpu_meter import CpuMeter
from llmrouter.inference.model_servicer import ModelServicer
from llmrouter.inference.models.memory_monitor import MemoryMonitor
from llmrouter.inference.models.memory_reader import MemoryUse
from llmrouter.inference.models.pressure import Thresholds
from llmrouter.inference.remote.models import RemoteModels
from llmrouter.v1 import inference_pb2, model_pb2
from llmrouter.v1.model_pb2_grpc import ModelServiceStub, add_ModelServiceServicer_to_server


@pytest.fixture
def backends():
    return FakeBackends()


@pytest.fixture
async def registry(tmp_path, backends):
    for name in ("a", "a@v2", "b"):
        put(tmp_path, name)
    made = registry_of(tmp_path, backends, residency=PROMPTLY, pinned=["b"])
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def monitor(registry):
    return MemoryMonitor(lambda: MemoryUse(750, 1000, "machine"), Thresholds(), registry.relieve)


@pytest.fixture
def stub(registry, monitor):
    server = InProcessServer(Gate("tested"))
    add_ModelServiceServicer_to_server(
        ModelServicer(registry, RemoteModels(()), monitor, CpuMeter(2)), server
    )
    return ModelServiceStub(InProcessChannel(server))


def state(model):
    return inference_pb2.ModelState.Name(model.state).removeprefix("MODEL_STATE_")


async def refusal(call):
    with pytest.raises(aio.AioRpcError) as refused:
        await call
    return from_rpc_error(refused.value, "inference")


async def load(stub, model, version="", **more):
    request = model_pb2.ModelServiceLoadRequest(model=model, version=version, **more)
    return [answer.model async for answer in stub.Load(request, timeout=20)]


async def test_every_version_is_listed_with_what_is_known_of_it(stub, monitor):
    await monitor.look()
    answer = await stub.List(model_pb2.ModelServiceListRequest(), timeout=20)
    first, second, other = answer.models
    assert [state(one) for one in answer.models] == ["READY", "UNLOADED", "READY"]
    assert (second.name, second.label, second.version) == ("a", "v2", "v-a@v2")
    assert (first.aliases, second.aliases) == (["stable"], ["latest"])
    assert (second.on_demand, second.context, second.chat) == (True, 128, True)
    assert second.capabilities == ["chat", "completion", "seed"]
    assert (other.pinned, first.pinned) == (True, False)
    assert second.memory_bytes > second.folder_bytes > 0
    memory = answer.memory
    assert memory.pressure == model_pb2.MEMORY_PRESSURE_WARNING
    assert (memory.used_bytes, memory.limit_bytes) == (750, 1000)
    assert memory.model_bytes == first.memory_bytes + other.memory_bytes


async def test_a_load_streams_its_states_and_moves_aliases_at_its_end(stub, registry, backends):
    backends.gate.clear()
    request = model_pb2.ModelServiceLoadRequest(
        model="a", version="v2", aliases=["stable"], pin=True
    )
    seen = []
    async for answer in stub.Load(request, timeout=20):
        seen.append((state(answer.model), list(answer.model.aliases)))
        if seen[-1][0] == "LOADING":
            backends.gate.set()
    assert seen[0][0] in {"UNLOADED", "LOADING"}
    assert ("LOADING", ["latest"]) in seen
    assert seen[-1] == ("READY", ["latest", "stable"])
    assert registry.shelf.find("a", "").pinned


async def test_a_load_that_takes_long_is_told_of_again_and_again(stub, backends, monkeypatch):
    monkeypatch.setattr(model_servicer, "_PROGRESS_SECONDS", 0.01)
    backends.gate.clear()
    seen = []
    async for answer in stub.Load(
        model_pb2.ModelServiceLoadRequest(model="a", version="v2"), timeout=20
    ):
        seen.append(state(answer.model))
        if seen.count("LOADING") == 3:
            backends.gate.set()
    assert seen[-1] == "READY"


async def test_a_caller_that_leaves_does_not_end_a_load(stub, registry, backends):
    backends.gate.clear()
    call = stub.Load(model_pb2.ModelServiceLoadRequest(model="a", version="v2"))
    await anext(aiter(call))
    call.cancel()
    await asyncio.sleep(0)
    backends.gate.set()
    async with asyncio.timeout(5):
        while not registry.shelf.find("a", "v2").accepting:  # noqa: ASYNC110 - as a caller looks
            await asyncio.sleep(0.01)


async def test_a_load_that_fails_says_why(stub, backends):
    backends.broken = {"a@v2"}
    call = stub.Load(model_pb2.ModelServiceLoadRequest(model="a", version="v2"), timeout=20)
    error = await refusal(read(call))
    assert (error.reason, error.message) == ("MODEL_UNAVAILABLE", "a@v2: is broken")


async def read(call):
    return [answer async for answer in call]


async def test_unloading_answers_once_the_model_is_gone(stub, registry, backends):
    async with registry.generator("a", "", WHO):
        request = model_pb2.ModelServiceUnloadRequest(model="a", version="v-a")
        unloading = asyncio.ensure_future(stub.Unload(request, timeout=20))
        await asyncio.sleep(0.05)
        assert not unloading.done()
    model = (await unloading).model
    assert (state(model), model.on_demand) == ("UNLOADED", False)
    assert backends.names() == ["b"]


async def test_a_caller_that_leaves_does_not_end_an_unload(stub, registry, backends):
    async with registry.generator("a", "", WHO):
        call = stub.Unload(model_pb2.ModelServiceUnloadRequest(model="a", version="v-a"))
        await asyncio.sleep(0.02)
        call.cancel()
    async with asyncio.timeout(5):
        while backends.names() != ["b"]:  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.01)


async def test_a_grace_cuts_what_runs_longer(stub, registry, backends):
    async with registry.generator("a", "", WHO):
        request = model_pb2.ModelServiceUnloadRequest(model="a", grace=duration(0.01))
        await stub.Unload(request, timeout=20)
        assert backends.names() == ["b"]


async def test_watchers_are_told_at_once_after_changes_and_every_interval(stub, registry):
    watching = aiter(stub.Watch(model_pb2.ModelServiceWatchRequest(interval=duration(0.02))))
    async with asyncio.timeout(5):
        answers = [await anext(watching) for _ in range(3)]
        assert len({str(one.models) for one in answers}) == 1, "nothing changed"
        await registry.unload("a", "")
        while state((await anext(watching)).models[0]) != "UNLOADED":
            pass


async def test_a_watch_ends_when_the_service_stops(stub, registry):
    watching = stub.Watch(model_pb2.ModelServiceWatchRequest(interval=duration(60)))
    await anext(aiter(watching))
    registry.changes.end()
    error = await refusal(read(watching))
    assert error.reason == "DRAINING"


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda stub: read(stub.Load(model_pb2.ModelServiceLoadRequest())), "model"),
        (
            lambda stub: read(stub.Load(model_pb2.ModelServiceLoadRequest(model="m" * 257))),
            "model",
        ),
        (
            lambda stub: read(
                stub.Load(model_pb2.ModelServiceLoadRequest(model="a", version="v" * 129))
            ),
            "version",
        ),
        (
            lambda stub: read(
                stub.Load(model_pb2.ModelServiceLoadRequest(model="a", aliases=["x"] * 17))
            ),
            "aliases",
        ),
        (
            lambda stub: read(
                stub.Load(model_pb2.ModelServiceLoadRequest(model="a", aliases=["a b"]))
            ),
            "aliases",
        ),
        (
            lambda stub: stub.Unload(
                model_pb2.ModelServiceUnloadRequest(model="a", grace=duration(-1))
            ),
            "grace",
        ),
        (
            lambda stub: read(
                stub.Watch(model_pb2.ModelServiceWatchRequest(interval=duration(0.001)))
            ),
            "interval",
        ),
    ],
)
async def test_what_is_out_of_bounds_is_refused_by_its_name(stub, call, named):
    error = await refusal(call(stub))
    assert error.reason == "INVALID_ARGUMENT"
    assert error.violations[0].field == named


async def test_a_model_that_the_store_does_not_have_is_unknown(stub):
    error = await refusal(stub.Unload(model_pb2.ModelServiceUnloadRequest(model="gone")))
    assert error.reason == "UNKNOWN_MODEL"
    call = stub.Load(model_pb2.ModelServiceLoadRequest(model="a", version="v9"))
    assert (await refusal(read(call))).reason == "UNKNOWN_MODEL"


async def test_nothing_is_told_before_the_store_was_looked_at(tmp_path, backends, monitor):
    put(tmp_path, "late")
    registry = registry_of(tmp_path, backends, residency=PROMPTLY)
    server = InProcessServer(Gate("tested"))
    add_ModelServiceServicer_to_server(
        ModelServicer(registry, RemoteModels(()), monitor, CpuMeter(2)), server
    )
    stub = ModelServiceStub(InProcessChannel(server))
    answers = aiter(stub.Watch(model_pb2.ModelServiceWatchRequest(interval=duration(60))))
    listed = asyncio.ensure_future(stub.List(model_pb2.ModelServiceListRequest(), timeout=20))
    first = asyncio.ensure_future(anext(answers))
    await asyncio.wait({first, listed}, timeout=0.05)
    assert not first.done()
    assert not listed.done()
    await registry.start()
    assert "late" in [one.name for one in (await first).models]
    assert "late" in [one.name for one in (await listed).models]
    await registry.close()
    watch = stub.Watch(model_pb2.ModelServiceWatchRequest(interval=duration(60)))
    assert (await refusal(anext(aiter(watch)))).reason == "DRAINING"
