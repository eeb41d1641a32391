"""More models than memory holds: who makes room, who waits, who is refused."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

from tests.unit.inference.models.fake_backend import PROMPTLY, WHO, Clock, put
from tests.unit.inference.models.registry.asking import (
    ask,
    held,
    refusal,
    size_of_one,
    states,
    until,
)

from llmrouter.common.errors import Reason
from llmrouter.common.generation import Priority, RequestContext
from llmrouter.inference.models.pressure import Pressure
from llmrouter.inference.models.residency import ModelState


async def test_the_least_recently_used_makes_room(make, backends, tmp_path):
    clock = Clock()
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=2 * size_of_one(tmp_path))
    registry = await make(residency=budget, clock=clock)
    assert states(registry) == {"a": "ready", "b": "ready", "c": "unloaded"}
    clock.now += 1
    await ask(registry, "a")
    assert await ask(registry, "c") == "v-c"
    assert backends.names() == ["a", "c"]


async def test_a_model_in_use_makes_room_only_once_it_is_not(make, backends, tmp_path):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=size_of_one(tmp_path))
    registry = await make("a", "b", residency=budget)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(registry.generator("a", "", WHO))
        asking = asyncio.create_task(ask(registry, "b"))
        await until(lambda: held(registry, "a").state is ModelState.DRAINING)
        late = asyncio.create_task(ask(registry, "a"))
        await until(lambda: held(registry, "a").waiting)
        assert backends.names() == ["a"]
    assert await asking == "v-b"
    assert await late == "v-a", "what came while it left loads it again"
    assert backends.most_open == 1


async def test_one_that_never_gets_free_is_kept_and_the_other_told_when_to_come_back(
    make, tmp_path
):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=size_of_one(tmp_path), drain_seconds=0.02)
    registry = await make("a", "b", residency=budget)
    async with registry.generator("a", "", WHO):
        error = await refusal(ask(registry, "b"))
        assert (error.reason, error.retry_after) == (Reason.MEMORY_PRESSURE, 1.0)
        assert states(registry) == {"a": "ready", "b": "unloaded"}
    assert await ask(registry, "b") == "v-b"


async def test_memory_of_what_is_being_unloaded_is_waited_for(make, tmp_path):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=int(2.5 * size_of_one(tmp_path)))
    registry = await make(residency=budget, pinned=["b"])
    async with registry.generator("a", "", WHO):
        unloading = asyncio.create_task(registry.unload("a", ""))
        await until(lambda: held(registry, "a").state is ModelState.DRAINING)
        error = await refusal(ask(registry, "c"))
        assert (error.reason, error.retry_after) == (Reason.MEMORY_PRESSURE, 1.0)
        assert "being unloaded" in error.message
    await unloading
    assert await ask(registry, "c") == "v-c"


async def test_where_the_essential_leave_no_room_nothing_is_unloaded_in_vain(
    make, backends, tmp_path
):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=2 * size_of_one(tmp_path))
    registry = await make(residency=budget, pinned=["a", "b"])
    error = await refusal(ask(registry, "c"))
    assert "inference.memory_mib" in error.message
    assert backends.names() == ["a", "b"]
    assert held(registry, "c").state is ModelState.UNLOADED


async def test_a_model_that_does_not_end_in_order_makes_room_all_the_same(
    make, backends, tmp_path, monkeypatch
):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=size_of_one(tmp_path))
    registry = await make("a", "b", residency=budget)

    async def close():
        raise OSError("cannot")

    monkeypatch.setattr(backends.open[0], "close", close)
    assert await ask(registry, "b") == "v-b"
    assert states(registry) == {"a": "unloaded", "b": "ready"}


async def test_a_replacement_does_not_push_out_what_it_replaces(make, backends, tmp_path):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=int(1.5 * size_of_one(tmp_path)))
    registry = await make("a", residency=budget)
    put(tmp_path, "a", "new")
    assert (await refusal(registry.load("a", ""))).reason is Reason.MODEL_UNAVAILABLE
    assert await ask(registry, "a") == "v-a"


async def test_what_was_loaded_beside_another_counts_when_the_next_load_has_its_turn(
    make, backends, tmp_path, monkeypatch
):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=2 * size_of_one(tmp_path))
    registry = await make("a", residency=budget, pinned=["a"])
    one = registry.lifecycle.memory
    put(tmp_path, "a", "new")
    put(tmp_path, "b")
    await registry.scan()
    held(registry, "b").on_demand = True
    counted = {}

    def check_memory(model):
        counted[model.key.name] = registry.lifecycle.memory

    monkeypatch.setattr(registry.lifecycle, "_check_memory", check_memory)
    backends.gate.clear()
    async with registry.generator("a", "", WHO):
        replacing = asyncio.create_task(registry.load("a", ""))
        await until(lambda: len(backends.loads) == 2)
        asking = asyncio.create_task(ask(registry, "b"))
        await until(lambda: held(registry, "b").waiting)
        backends.gate.set()
        error = await refusal(asking)
        assert (error.reason, error.retry_after) == (Reason.MEMORY_PRESSURE, 1.0)
        await replacing
    assert counted == {"a": one, "b": 2 * one}
    assert backends.most_open == 2


async def test_a_mix_over_more_models_than_fit_completes(make, backends, tmp_path):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=2 * size_of_one(tmp_path))
    registry = await make(residency=budget)

    async def one(index):
        name = "abc"[index * 7 % 3]
        async with registry.generator(name, "", WHO) as (facts, _, backend):
            for _ in range(index % 5):
                await asyncio.sleep(0)
            assert backend in backends.open, "what is used is open"
            return facts.version == f"v-{name}"

    async with asyncio.timeout(30):
        assert all(await asyncio.gather(*(one(index) for index in range(60))))
    assert backends.most_open == 2
    assert all(not model.users and not model.waiting for model in registry.models)


async def test_short_memory_refuses_work_by_priority_and_frees_what_it_can(make, backends):
    registry = await make("a", "b", pinned=["a"])
    low, normal, high = (
        RequestContext("r", priority=one) for one in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
    )
    async with registry.generator("b", "", low):
        await registry.relieve(Pressure.CRITICAL)
        assert backends.names() == ["a", "b"], "what is essential or in use stays"
        assert {one.kept for one in backends.open} == {0}
        error = await refusal(ask(registry, "a", who=low))
        assert (error.reason, error.retry_after) == (Reason.MEMORY_PRESSURE, 5.0)
        assert await ask(registry, "a", who=normal)
    await registry.relieve(Pressure.EMERGENCY)
    assert backends.names() == ["a"]
    assert (await refusal(ask(registry, "a", who=normal))).reason is Reason.MEMORY_PRESSURE
    assert await ask(registry, "a", who=high)
    assert (await refusal(ask(registry, "b", who=high))).reason is Reason.MEMORY_PRESSURE
    await registry.relieve(Pressure.NONE)
    assert await ask(registry, "b", who=low)


async def test_nothing_is_loaded_by_command_either_while_memory_is_as_good_as_full(make, backends):
    registry = await make("a", "b", "c", now=False)
    backends.gate.clear()
    first = asyncio.create_task(registry.load("a", ""))
    await until(lambda: backends.loads)
    waiting: list[object] = []
    queued = asyncio.create_task(registry.load("b", "", begun=waiting.append))
    await until(lambda: waiting)
    await registry.relieve(Pressure.EMERGENCY)
    error = await refusal(registry.load("c", ""))
    assert (error.reason, error.retry_after) == (Reason.MEMORY_PRESSURE, 5.0)
    backends.gate.set()
    await first
    assert (await refusal(queued)).reason is Reason.MEMORY_PRESSURE
    assert states(registry) == {"a": "ready", "b": "unloaded", "c": "unloaded"}
    await registry.load("a", "", pin=True)
    await registry.relieve(Pressure.NONE)
    assert await ask(registry, "b") == "v-b"


async def test_how_short_memory_is_gets_known_while_a_model_loads(make, backends):
    registry = await make("a", "b", now=False)
    await registry.load("a", "")
    backends.gate.clear()
    loading = asyncio.create_task(registry.load("b", ""))
    await until(lambda: len(backends.loads) == 2)
    for pressure in (Pressure.CRITICAL, Pressure.EMERGENCY):
        async with asyncio.timeout(1):
            await registry.relieve(pressure)
        assert registry.pressure is pressure
    backends.gate.set()
    await loading
    await registry.relieve(Pressure.CRITICAL)
    assert backends.names() == [], "what is idle goes with the next look"
