"""Plans are carried out against real inference services over tiny folders; nothing computes."""

from __future__ import annotations

import contextlib
from functools import partial

import grpc
import pytest
from structlog.testing import capture_logs
from tests.support.waiting import until
from tests.unit.inference.models.fake_backend import PROMPTLY, FakeBackends, put, registry_of

from llmrouter.common.guard import Gate, GuardInterceptor
from llmrouter.common.listening import Listening
from llmrouter.inference.cpu_meter import CpuMeter
from llmrouter.inference.model_servicer import ModelServicer
from llmrouter.inference.models.memory_monitor import MemoryMonitor
from llmrouter.inference.models.memory_reader import MemoryUse
from llmrouter.inference.models.pressure import Pressure, Thresholds
from llmrouter.inference.remote.models import RemoteModels
from llmrouter.selector.endpoints import EndpointWatcher
from llmrouter.selector.placement_settings import PlacementSettings
from llmrouter.selector.placing import KIND, PlacementController
from llmrouter.selector.wire_placement import decode_node
from llmrouter.v1 import inference_pb2, model_pb2
from llmrouter.v1.model_pb2_grpc import add_ModelServiceServicer_to_server

GIB = 1 << 30


class Inference:
    """A service over a store of its own, whose memory a test can fill."""

    def __init__(self, store, names, port=0):
        self.backends, self._port = FakeBackends(), port
        for name in ("a", "b"):
            put(store, name)
        self.registry = registry_of(store, self.backends, residency=PROMPTLY)
        self._names = names

    async def __aenter__(self):
        await self.registry.start(self._names)
        self.monitor = MemoryMonitor(lambda: None, Thresholds(), self.registry.relieve)
        self._server = grpc.aio.server(
            interceptors=[GuardInterceptor(Gate("tested"), Listening().patience)]
        )
        servicer = ModelServicer(self.registry, RemoteModels(()), self.monitor, CpuMeter(2))
        add_ModelServiceServicer_to_server(servicer, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{self._port}')}"
        await self._server.start()
        self.fill(0.1)
        return self

    async def __aexit__(self, *_):
        await self.stop()

    async def stop(self):
        self.registry.changes.end()
        await self._server.stop(None)
        await self.registry.close()

    def fill(self, share):
        self.monitor.use = MemoryUse(int(share * 10 * GIB), 10 * GIB, "machine")
        self.registry.changes.tell()


@pytest.fixture
async def two(tmp_path):
    """The first holds `a` and `b`, the second nothing, though both lie in its store."""
    full, free = Inference(tmp_path / "1", ["a", "b"]), Inference(tmp_path / "2", [])
    async with full, free:
        yield full, free


@pytest.fixture
async def third(two, tmp_path):
    """Another that holds nothing."""
    async with Inference(tmp_path / "3", []) as one:
        yield one


@pytest.fixture
async def watching(two):
    async with watched(two) as watching:
        yield watching


@contextlib.asynccontextmanager
async def watched(services):
    channels = {}

    def channel(address):
        if address not in channels:
            channels[address] = grpc.aio.insecure_channel(address)
        return channels[address]

    watcher = EndpointWatcher([one.address for one in services], channel, interval=0.2)
    await watcher.start(10)
    yield watcher, channel
    await watcher.close()
    for one in channels.values():
        await one.close()


async def seen(watcher, condition):
    await until(lambda: condition(watcher.nodes()))


def controller(watching, mode, *, places=lambda: True, clock=lambda: 0.0, store=None, **settings):
    watcher, channel = watching
    made = PlacementSettings(**{"mode": mode, "replicas": 1, "lost_seconds": 0, **settings})
    return PlacementController(watcher.nodes, channel, made, places, clock, store)


class Shared:
    """The documents of several selectors."""

    def __init__(self):
        self.documents, self.others = {KIND: {}}, []

    def put(self, kind, key, data):
        if data is None:
            self.documents[kind].pop(key, None)
        else:
            self.documents[kind][key] = data
        for one in self.others:
            one.take(key, data)


def full(nodes):
    return max((node.memory for node in nodes), default=0) > 0.8


def test_what_loads_before_its_version_was_read_and_what_requests_load_are_told_apart():
    model = partial(inference_pb2.LoadedModel, name="m")
    unread = model(state=inference_pb2.MODEL_STATE_LOADING)
    waiting = model(state=inference_pb2.MODEL_STATE_UNLOADED, version="v", on_demand=True)
    asleep = model(state=inference_pb2.MODEL_STATE_UNLOADED, version="v")
    for models, settled, offers in (
        ([unread], False, []), ([waiting], True, [True]), ([asleep], True, [False]),
    ):  # fmt: skip
        node = decode_node(model_pb2.ModelServiceListResponse(models=models), "a", returns=3)
        assert (node.settled, [one.offered for one in node.holdings]) == (settled, offers)
        assert node.returns == 3


def test_what_a_provider_computes_is_nobodys_to_move():
    ready = inference_pb2.MODEL_STATE_READY
    models = [
        inference_pb2.LoadedModel(name=name, version="v1", state=ready, precision=precision)
        for name, precision in (("theirs", "remote"), ("ours", "int8"))
    ]
    node = decode_node(model_pb2.ModelServiceListResponse(models=models), "a")
    assert [one.name for one in node.holdings] == ["ours"]


async def test_a_model_moves_from_full_memory_to_where_there_is_room(two, watching):
    first, second = two
    first.fill(0.9)
    await seen(watching[0], full)
    steps = await controller(watching, "on").look()
    assert [(step.action.value, step.address) for step in steps] == [
        ("load", second.address), ("unload", first.address),
    ]  # fmt: skip
    moved = steps[0].name
    assert second.backends.names() == [moved]
    assert first.backends.names() == [name for name in ("a", "b") if name != moved]


async def test_a_dry_run_plans_and_does_nothing(two, watching):
    first, second = two
    first.fill(0.9)
    await seen(watching[0], full)
    assert len(await controller(watching, "dry-run").look()) == 2
    assert (first.backends.names(), second.backends.names()) == (["a", "b"], [])


async def test_after_a_step_that_failed_nothing_is_unloaded(two, watching):
    first, second = two
    second.backends.broken = {"a", "b"}
    first.fill(0.9)
    await seen(watching[0], full)
    assert len(await controller(watching, "on").look()) == 2
    assert (first.backends.names(), second.backends.names()) == (["a", "b"], [])


def offered(nodes):
    return {one.name for node in nodes for one in node.holdings if one.offered}


def replicas(name, nodes):
    return sum(one.offered for node in nodes for one in node.holdings if one.name == name)


def failures(nodes):
    return sum(one.failed for node in nodes for one in node.holdings)


async def test_after_a_load_that_failed_the_next_service_is_tried_and_it_is_told(two, third):
    first, second = two
    second.backends.broken = third.backends.broken = {"a", "b"}
    first.fill(0.9)
    async with watched([*two, third]) as watching:
        await seen(watching[0], lambda nodes: len(nodes) == 3 and full(nodes))
        placing = controller(watching, "on", retry_seconds=77)
        with capture_logs() as logged:
            [tried, _] = await placing.look()
        await seen(watching[0], lambda nodes: failures(nodes) == 1)
        other = next(one for one in (second, third) if one.address != tried.address)
        other.backends.broken = set()
        assert [step.address for step in await placing.look()] == [other.address, first.address]
    assert other.backends.names() == [tried.name]
    [given_up] = [one for one in logged if one["event"] == "placement given up"]
    assert (given_up["address"], given_up["not_again_for_seconds"]) == (tried.address, 77)


async def test_a_refusal_for_want_of_memory_counts_as_well_which_the_service_does_not_tell(
    two, watching
):
    first, second = two
    second.registry.pressure = Pressure.EMERGENCY
    first.fill(0.9)
    await seen(watching[0], full)
    placing = controller(watching, "on")
    assert [len(await placing.look()) for _ in range(3)] == [2, 2, 0]
    assert failures(watching[0].nodes()) == 0


async def test_after_a_while_it_is_tried_where_it_failed_before(two, watching):
    first, second = two
    second.backends.broken = {"a", "b"}
    first.fill(0.9)
    await seen(watching[0], full)
    now = 0.0
    placing = controller(watching, "on", retry_seconds=10, clock=lambda: now)
    for count in (1, 2):
        assert len(await placing.look()) == 2
        await seen(watching[0], lambda nodes, count=count: failures(nodes) == count)
    assert await placing.look() == ()
    second.backends.broken = set()
    now = 10.0
    assert len(await placing.look()) == 2
    assert len(second.backends.names()) == 1


async def test_what_was_moved_is_loaded_again_once_its_only_holder_is_gone(two, watching):
    first, second = two
    placing = controller(watching, "on")
    first.fill(0.9)
    await seen(watching[0], full)
    moved = (await placing.look())[0].name
    first.fill(0.1)
    await seen(watching[0], lambda nodes: not full(nodes) and moved in offered(nodes))
    assert await placing.look() == ()
    await second.stop()
    await seen(watching[0], lambda nodes: len(nodes) == 1)
    steps = await placing.look()
    assert [(step.address, step.name) for step in steps] == [(first.address, moved)]
    assert second.address in steps[0].why
    assert first.backends.names() == ["a", "b"]


async def test_what_was_moved_is_loaded_again_once_its_holder_restarts_without_it(
    two, watching, tmp_path
):
    first, second = two
    placing = controller(watching, "on")
    first.fill(0.9)
    await seen(watching[0], full)
    moved = (await placing.look())[0].name
    await second.stop()
    first.fill(0.1)
    await seen(watching[0], lambda nodes: len(nodes) == 1 and not full(nodes))
    async with Inference(tmp_path / "2", [], second.address.rpartition(":")[2]):
        await seen(watching[0], lambda nodes: len(nodes) == 2 and moved not in offered(nodes))
        assert [step.name for step in await placing.look()] == [moved]


@pytest.mark.parametrize("anew", [False, True])
async def test_who_places_next_knows_what_was_moved_before(two, watching, tmp_path, anew):
    first, second = two
    shared = Shared()
    placing = controller(watching, "on", store=shared)
    next_one = controller(watching, "on", store=shared)
    shared.others = [] if anew else [next_one]
    first.fill(0.9)
    await seen(watching[0], full)
    moved = (await placing.look())[0].name
    first.fill(0.1)
    await seen(watching[0], lambda nodes: not full(nodes) and moved in offered(nodes))
    if anew:
        next_one.restore(shared.documents)
    assert await next_one.look() == ()
    await second.stop()
    await seen(watching[0], lambda nodes: len(nodes) == 1)
    async with Inference(tmp_path / "2", [], second.address.rpartition(":")[2]):
        await seen(watching[0], lambda nodes: len(nodes) == 2 and moved not in offered(nodes))
        assert [step.name for step in await next_one.look()] == [moved]


async def test_what_was_spare_is_loaded_again_once_the_replica_that_was_left_is_gone(two, watching):
    first, second = two
    await second.registry.load("a", "")
    placing = controller(watching, "on")
    first.fill(0.9)
    await seen(watching[0], lambda nodes: full(nodes) and replicas("a", nodes) == 2)
    assert [step.action.value for step in await placing.look()] == ["unload"]
    first.fill(0.1)
    await second.stop()
    await seen(watching[0], lambda nodes: len(nodes) == 1 and not full(nodes))
    assert [(step.address, step.name) for step in await placing.look()] == [(first.address, "a")]


async def test_what_somebody_unloads_and_what_nobody_ever_loaded_stay_as_they_are(two, watching):
    first, _ = two
    placing = controller(watching, "on")
    await seen(watching[0], lambda nodes: len(nodes) == 2 and offered(nodes) == {"a", "b"})
    assert await placing.look() == ()
    await first.registry.unload("a", "")
    await seen(watching[0], lambda nodes: offered(nodes) == {"b"})
    assert await placing.look() == ()
    await first.stop()
    await seen(watching[0], lambda nodes: len(nodes) == 1)
    assert [step.name for step in await placing.look()] == ["b"]


async def test_while_another_selector_places_nothing_is_done_and_that_is_told_once(two, watching):
    first, second = two
    first.fill(0.9)
    await seen(watching[0], full)
    ours = False
    placing = controller(watching, "on", places=lambda: ours)
    with capture_logs() as logged:
        assert [await placing.look(), await placing.look()] == [(), ()]
        ours = True
        assert len(await placing.look()) == 2
    assert len(second.backends.names()) == 1
    told = [one["event"] for one in logged if one["event"].startswith("placement re")]
    assert told == ["placement rests", "placement resumes"]


async def test_a_selector_that_loses_its_turn_between_two_steps_unloads_nothing(two, watching):
    first, second = two
    first.fill(0.9)
    await seen(watching[0], full)
    asked = iter([True, True, False])
    assert len(await controller(watching, "on", places=lambda: next(asked)).look()) == 2
    assert (len(first.backends.names()), len(second.backends.names())) == (2, 1)


async def test_it_plans_again_and_again_unless_it_is_off(two, watching):
    first, second = two
    off = controller(watching, "off")
    off.start()
    await off.close()
    first.fill(0.9)
    running = controller(watching, "on", interval_seconds=0.05)
    running.start()
    await until(lambda: len(first.backends.names()) != 2)
    await running.close()
    await running.close()
    assert second.backends.names()
