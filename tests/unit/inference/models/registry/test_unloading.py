"""Models leave memory: when idle, or when told to, once what runs on them has finished."""

from __future__ import annotations

import asyncio
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
from llmrouter.inference.models import lifecycle
from llmrouter.inference.models.pressure import Pressure
from llmrouter.inference.models.residency import ModelState


async def test_idle_models_leave_and_come_back_when_asked_for(make, backends):
    clock = Clock()
    registry = await make(clock=clock, pinned=["c"])
    clock.now += 599
    await ask(registry, "b")
    clock.now += 1
    async with registry.generator("b", "", WHO):
        clock.now += 900
        await registry.lifecycle.sweep(600)
        assert states(registry) == {"a": "unloaded", "b": "ready", "c": "ready"}
    await registry.lifecycle.sweep(600)
    assert held(registry, "b").state is ModelState.READY, "its last request has only just ended"
    clock.now += 600
    await registry.lifecycle.sweep(600)
    assert backends.names() == ["c"]
    assert await ask(registry, "a") == "v-a"
    assert backends.names() == ["a", "c"]


async def test_an_unloaded_model_is_known_and_obtainable(make):
    registry = await make("a", now=False)
    model = held(registry, "a")
    assert model.obtainable
    assert model.facts.context == 128
    assert model.facts.capabilities == {"chat", "completion", "seed"}


async def test_unloading_lets_what_runs_finish_and_refuses_what_comes_after(make, backends):
    registry = await make("a", "b")
    async with registry.generator("a", "", WHO):
        unloading = asyncio.create_task(registry.unload("a", ""))
        await until(lambda: not held(registry, "a").accepting)
        assert held(registry, "a").state is ModelState.DRAINING
        error = await refusal(ask(registry, "a"))
        assert error.reason is Reason.MODEL_UNAVAILABLE
        assert backends.names() == ["a", "b"]
    await unloading
    assert states(registry) == {"a": "unloaded", "b": "ready"}
    assert "llmrouter models load" in (await refusal(ask(registry, "a"))).message
    await registry.load("a", "")
    assert await ask(registry, "a") == "v-a"


async def test_requests_planned_before_an_unload_are_answered(make):
    registry = await make("a", residency=replace(PROMPTLY, notice_seconds=0.2))
    unloading = asyncio.create_task(registry.unload("a", ""))
    await until(lambda: held(registry, "a").announced)
    assert await ask(registry, "a", "v-a") == "v-a"
    await unloading
    assert (await refusal(ask(registry, "a", "v-a"))).reason is Reason.MODEL_UNAVAILABLE


async def test_what_runs_longer_than_the_grace_is_cut(make, backends):
    registry = await make("a")
    async with registry.generator("a", "", WHO):
        await registry.unload("a", "", 0.01)
        assert backends.names() == []


async def test_what_is_unloaded_takes_nothing_new_when_a_load_gives_up_its_room(
    make, tmp_path, monkeypatch
):
    put(tmp_path, "a")
    monkeypatch.setattr(lifecycle, "_ROOM_SECONDS", 0.2)
    registry = await make("a", "b", residency=replace(PROMPTLY, memory_bytes=size_of_one(tmp_path)))
    async with registry.generator("a", "", WHO):
        loading = asyncio.create_task(registry.load("b", ""))
        await until(lambda: held(registry, "a").state is ModelState.DRAINING)
        unloading = asyncio.create_task(registry.unload("a", ""))
        assert (await refusal(loading)).retry_after == 1.0
        assert held(registry, "a").state is ModelState.DRAINING
        assert (await refusal(ask(registry, "a"))).reason is Reason.MODEL_UNAVAILABLE
        assert not unloading.done()
    await unloading
    await registry.load("b", "")
    await registry.unload("b", "")
    await registry.load("a", "")
    assert await ask(registry, "a") == "v-a"


async def test_watchers_hear_of_every_change_and_of_the_end(make):
    registry = await make("a")
    changes = registry.changes
    seen = changes.count
    assert await changes.after(seen, 0.01) == seen
    watching = asyncio.create_task(changes.after(seen, 60))
    await asyncio.sleep(0)
    await registry.relieve(Pressure.WARNING)
    assert await watching > seen
    changes.end()
    await changes.after(changes.count, 60)
    assert changes.ended
