"""The watcher keeps in view what answers, drops what is silent, and never gives up."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from tests.support.waiting import until
from tests.unit.selector.building import Clock

from llmrouter.selector.endpoints import EndpointWatcher
from llmrouter.selector.hearing import Hearing
from llmrouter.selector.statistics import PRIORS, Priors
from llmrouter.v1 import inference_pb2 as pb
from llmrouter.v1 import model_pb2_grpc


async def test_the_first_look_is_over_when_start_returns(inference, watching):
    watcher = await watching(inference.address)
    model, broken = watcher.served()
    assert (model.name, model.version, model.address) == ("m", "v", inference.address)
    assert model.ready
    assert model.context == 512
    assert model.capabilities == {"chat", "completion"}
    assert model.quality_ratio == pytest.approx(0.8)
    assert model.load == pytest.approx(5 / 4)
    assert (model.tokenizer, model.longest_token_bytes) == ("tok", 81)
    assert (broken.ready, broken.error) == (False, "bad magic")


async def test_a_change_is_seen_when_it_happens(inference, watching):
    watcher = await watching(inference.address, interval=60)
    inference.models.append(pb.LoadedModel(name="new", state=pb.MODEL_STATE_READY))
    inference.tell()
    await until(lambda: {one.name for one in watcher.served()} == {"m", "broken", "new"})
    assert inference.asked == 1


async def test_a_choice_costs_no_look_at_the_endpoints_while_nothing_has_changed(
    inference, watching
):
    clock = Clock()
    watcher = await watching(inference.address, interval=60, clock=clock)
    first = watcher.served()
    inference.tell()
    nodes = watcher.nodes()
    await until(lambda: watcher.nodes()[0] is not nodes[0])
    assert watcher.served() is first
    inference.models[0].statistics.running = 4
    inference.tell()
    await until(lambda: watcher.served() is not first)
    assert watcher.served()[0].running == 4


async def test_where_nothing_can_be_watched_the_models_are_asked_for_again_and_again(
    inference, watching
):
    inference.does = "list"
    watcher = await watching(inference.address, interval=0.1)
    assert len(watcher.served()) == 2
    del inference.models[0]
    await until(lambda: [one.name for one in watcher.served()] == ["broken"])
    assert inference.asked > 2


async def test_a_silent_address_is_dropped_after_two_intervals_and_returns(inference, watching):
    clock, back = Clock(), []
    watcher = await watching(inference.address, interval=0.05, clock=clock, returned=back.append)
    inference.does = "down"
    inference.tell()
    asked = inference.asked
    await until(lambda: inference.asked >= asked + 2)
    clock.now += 0.09
    assert watcher.served()
    clock.now += 0.02
    [last] = watcher.served()
    assert (last.name, last.version, last.ready, last.silent) == ("m", "v", False, True)
    assert watcher.nodes() == ()
    assert back == []
    inference.does = "watch"
    await until(lambda: len(watcher.served()) == 2)
    assert watcher.served()[0].ready
    assert back == [inference.address]


async def test_a_loop_that_was_too_busy_to_listen_takes_nobody_for_silent(inference, watching):
    hearing, back = Hearing(0.05), []
    hearing.start()
    watcher = await watching(
        inference.address, interval=0.2, clock=hearing.now, returned=back.append
    )
    for _ in range(4):
        time.sleep(0.25)  # noqa: ASYNC251 - it is the work that keeps the loop busy
        await asyncio.sleep(0)
        assert not watcher.served()[0].silent
    heard = inference.asked
    await asyncio.sleep(0.5)
    assert (inference.asked, back) == (heard, [])
    hearing.close()


async def test_a_model_loaded_again_is_remembered_until_it_serves_or_fails(inference, watching):
    watcher = await watching(inference.address, interval=0.25)
    inference.models = [pb.LoadedModel(name="m", state=pb.MODEL_STATE_LOADING)]
    inference.tell()
    await until(lambda: len(watcher.served()) == 1)
    [model] = watcher.served()
    assert (model.version, model.ready, model.silent) == ("v", False, False)
    inference.models = [pb.LoadedModel(name="m", state=pb.MODEL_STATE_FAILED, error="gone")]
    inference.tell()
    await until(lambda: [one.error for one in watcher.served()] == ["gone"])
    assert [one.version for one in watcher.served()] == [""]


async def test_a_service_that_starts_after_many_looks_is_found(watching, inference):
    await inference.server.stop(None)
    watcher = await watching(inference.address, interval=0.02, patience=0.3)
    assert watcher.served() == ()
    server = grpc.aio.server()
    model_pb2_grpc.add_ModelServiceServicer_to_server(inference, server)
    server.add_insecure_port(inference.address)
    await server.start()
    await until(watcher.served)
    await server.stop(None)


async def test_a_stream_that_falls_silent_is_opened_anew(inference, watching, caplog):
    watcher = await watching(inference.address, interval=0.05)
    inference.does = "hang"
    inference.tell()
    await until(lambda: [one.silent for one in watcher.served()] == [True])
    inference.does = "watch"
    await until(lambda: not watcher.served()[0].silent)
    assert "does not answer: nothing was heard for 0.1 s" in caplog.text


async def test_an_address_that_says_that_it_drains_is_told_at_once_until_it_is_back(
    inference, watching
):
    watcher = await watching(inference.address, interval=60)
    inference.does = "drain"
    inference.tell()
    await until(lambda: any(one.draining for one in watcher.served()))
    assert not any(one.silent for one in watcher.served())
    assert watcher.nodes() == ()
    inference.does = "watch"
    await until(lambda: not any(one.draining for one in watcher.served()))
    assert [one.address for one in watcher.nodes()] == [inference.address]


async def test_a_drained_address_that_goes_is_silent_like_any_other(inference, watching):
    clock = Clock()
    watcher = await watching(inference.address, interval=60, clock=clock)
    inference.does = "drain"
    inference.tell()
    await until(lambda: any(one.draining for one in watcher.served()))
    clock.now += 121
    assert [one.silent for one in watcher.served()] == [True]


@pytest.mark.parametrize("on_demand", [False, True])
async def test_a_model_that_is_being_unloaded_drains_unless_it_comes_back_on_demand(
    inference, watching, on_demand
):
    watcher = await watching(inference.address, interval=0.05)
    model = inference.models[0]
    model.state, model.on_demand = pb.MODEL_STATE_DRAINING, on_demand
    await until(
        lambda: (
            (watcher.served()[0].draining, watcher.served()[0].on_demand)
            == (not on_demand, on_demand)
        )
    )
    model.state, model.on_demand = pb.MODEL_STATE_UNLOADED, False
    await until(lambda: [one.name for one in watcher.served()] == ["broken"])


async def test_an_address_that_hangs_or_refuses_does_not_hold_up_the_start(inference, watching):
    inference.does = "hang"
    async with asyncio.timeout(30):  # far before the watcher itself would give the address up
        watcher = await watching(inference.address, "127.0.0.1:1", patience=0.2, interval=60)
    assert watcher.served() == ()


async def test_a_silent_address_does_not_hide_another(inference, watching):
    watcher = await watching("127.0.0.1:1", inference.address)
    assert {one.name for one in watcher.served()} == {"m", "broken"}


@pytest.mark.parametrize(("interval", "after_failures"), [(0.2, 0.2), (60.0, 1.0)])
def test_a_silent_service_is_looked_for_as_often_however_long_it_is_away(interval, after_failures):
    watcher = EndpointWatcher((), lambda address: None, interval=interval)
    pauses = [watcher._pause(failures) for failures in (0, 1, 2, 3, 1000)]
    assert pauses == [interval, 0, *[after_failures] * 3]


async def test_no_addresses_serve_nothing(watching):
    assert (await watching()).served() == ()


async def test_a_model_can_do_what_its_service_says(inference, watching):
    inference.models[0].capabilities.extend(["logprobs", "n"])
    watcher = await watching(inference.address)
    [model] = [one for one in watcher.served() if one.name == "m"]
    assert model.capabilities == {"chat", "completion", "logprobs", "n"}


async def test_what_a_request_would_load_is_served_and_what_nobody_is_to_ask_for_is_not(
    inference, watching
):
    known = {"name": "m", "version": "v", "context": 512}
    inference.models = [
        pb.LoadedModel(**known, state=pb.MODEL_STATE_UNLOADED, on_demand=True),
        pb.LoadedModel(name="on disk", state=pb.MODEL_STATE_UNLOADED),
        pb.LoadedModel(name="left", state=pb.MODEL_STATE_UNLOADED),
        pb.LoadedModel(name="loading", state=pb.MODEL_STATE_LOADING),
    ]
    watcher = await watching(inference.address)
    obtainable, loading = watcher.served()
    assert (obtainable.name, obtainable.ready, obtainable.on_demand) == ("m", False, True)
    assert obtainable.load == 1, "whoever asks waits for it"
    assert (loading.name, loading.ready, loading.on_demand) == ("loading", False, False)


async def test_label_and_aliases_are_names_of_a_version(inference, watching):
    inference.models[0].label = "v2"
    inference.models[0].aliases.extend(["stable", "latest"])
    watcher = await watching(inference.address)
    assert watcher.served()[0].names == {"v2", "stable", "latest"}


async def test_a_service_is_a_node_with_all_that_lies_in_its_store(inference, watching):
    inference.models.append(
        pb.LoadedModel(name="m", version="w", state=pb.MODEL_STATE_LOADING, memory_bytes=7)
    )
    watcher = await watching(inference.address)
    [node] = watcher.nodes()
    assert (node.address, node.cpu, node.memory) == (inference.address, 0.5, 0.75)
    assert (node.memory_limit, node.free_budget) == (1000, 400)
    ready, coming = node.holdings
    assert (ready.key, ready.ready, ready.settled, ready.busy) == (("m", "v"), True, True, 1.25)
    assert (coming.key, coming.ready, coming.settled, coming.memory) == (
        ("m", "w"), False, False, 7,
    )  # fmt: skip


async def test_a_measured_speed_is_what_is_believed_of_the_model_there(inference, watching):
    inference.models[0].speed.CopyFrom(pb.ModelSpeed(prefill_rate=1000, decode_rate=50))
    watcher = await watching(inference.address)
    measured, other = watcher.served()
    assert measured.priors == Priors.measured(1000, 50)
    assert other.priors == PRIORS
