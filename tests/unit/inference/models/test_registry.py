"""Models come into memory and leave it while requests run; nothing here computes."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.unit.inference.models.fake_backend import (
    PROMPTLY,
    WHO,
    Clock,
    FakeBackends,
    put,
    registry_of,
)
from tests.unit.inference.models.test_integrity import damage, imported

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Priority, RequestContext
from llmrouter.inference.models.pressure import Pressure
from llmrouter.inference.models.residency import ModelState

READY, UNLOADED, FAILED = ModelState.READY, ModelState.UNLOADED, ModelState.FAILED


@pytest.fixture
def backends():
    return FakeBackends()


@pytest.fixture
async def make(tmp_path, backends):
    """Starts a registry over folders `a`, `b`, `c`, or those named."""
    made = []

    async def start(*names, now=True, **options):
        for name in names or ("a", "b", "c"):
            if not (tmp_path / name).exists():
                put(tmp_path, name)
        made.append(registry_of(tmp_path, backends, **options))
        await made[-1].start(now=now)
        return made[-1]

    yield start
    for registry in made:
        await registry.close()


def states(registry):
    return {str(one.key): one.state.value for one in registry.models}


def held(registry, name):
    return next(one for one in registry.models if str(one.key) == name)


async def ask(registry, name, version="", who=WHO):
    async with registry.generator(name, version, who) as (facts, _, _):
        return facts.version


async def refusal(awaitable):
    with pytest.raises(RouterError) as refused:
        await awaitable
    return refused.value


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - looks from outside, like a caller
            await asyncio.sleep(0)


def size_of_one(tmp_path):
    return int(sum(file.stat().st_size for file in (tmp_path / "a").iterdir()) * 1.4) + 1


async def test_a_folder_that_breaks_its_reader_fails_alone(make, backends, monkeypatch):
    async def load(folder, options, load=backends.load):
        if folder.name == "a":
            raise TypeError("a surrogate, say")
        return await load(folder, options)

    monkeypatch.setattr(backends, "load", load)
    registry = await make("a", "b")
    assert states(registry) == {"a": "failed", "b": "ready"}
    assert "TypeError" in held(registry, "a").error
    assert "surrogate" not in held(registry, "a").error
    error = await refusal(ask(registry, "a"))
    assert (error.reason, error.retry_after) == (Reason.MODEL_UNAVAILABLE, None)


async def test_a_model_damaged_at_equal_size_is_not_served_and_freed(make, backends, tmp_path):
    damage(imported(tmp_path / "a") / "tokenizer_config.json")
    registry = await make("a")
    assert states(registry) == {"a": "failed"}
    assert held(registry, "a").error.startswith("a/tokenizer_config.json: is damaged")
    assert (backends.loads, backends.open) == (["a"], [])


async def test_what_is_wrong_is_told_without_this_machines_folders(make, backends, tmp_path):
    backends.broken = {"a"}
    registry = await make("a")
    assert held(registry, "a").error == "a: is broken"


async def test_a_model_that_is_still_loading_at_the_start_says_when_to_come_back(
    tmp_path, backends
):
    put(tmp_path, "a")
    backends.gate.clear()
    registry = registry_of(tmp_path, backends)
    starting = asyncio.create_task(registry.start(["a"]))
    await until(lambda: backends.loads)
    error = await refusal(ask(registry, "a"))
    assert (error.reason, error.retry_after) == (Reason.MODEL_UNAVAILABLE, 1.0)
    backends.gate.set()
    await starting
    assert await ask(registry, "a") == "v-a"
    await registry.close()


async def test_requests_for_a_model_that_is_loading_share_one_load(make, backends):
    registry = await make("a", now=False)
    assert states(registry) == {"a": "unloaded"}
    backends.gate.clear()
    asking = [asyncio.create_task(ask(registry, "a")) for _ in range(20)]
    await until(lambda: held(registry, "a").waiting == 20)
    backends.gate.set()
    assert await asyncio.gather(*asking) == ["v-a"] * 20
    assert backends.loads == ["a"]
    assert held(registry, "a").users == 0


async def test_a_request_that_gives_up_waiting_leaves_nothing_behind(make, backends):
    registry = await make("a", now=False)
    backends.gate.clear()
    asking = [asyncio.create_task(ask(registry, "a")) for _ in range(3)]
    await until(lambda: held(registry, "a").waiting == 3)
    asking[0].cancel()
    backends.gate.set()
    await until(lambda: held(registry, "a").users)
    asking[1].cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert asking[2].result() == "v-a"
    assert held(registry, "a").users == 0


async def test_waiting_for_a_load_is_bounded_in_number_and_time(make, backends):
    registry = await make("a", now=False, residency=replace(PROMPTLY, max_waiting=1))
    backends.gate.clear()
    soon = RequestContext("r", deadline=asyncio.get_running_loop().time() + 0.05)
    first = asyncio.create_task(ask(registry, "a", who=soon))
    await until(lambda: held(registry, "a").waiting)
    assert (await refusal(ask(registry, "a"))).reason is Reason.QUEUE_FULL
    assert (await refusal(first)).reason is Reason.DEADLINE_EXCEEDED
    assert held(registry, "a").waiting == 0
    backends.gate.set()


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
    assert held(registry, "b").state is READY, "its last request has only just ended"
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


async def test_versions_stand_side_by_side_and_aliases_move(make, tmp_path):
    registry = await make("a", "a@v2")
    assert states(registry) == {"a": "ready", "a@v2": "unloaded"}
    asked = [await ask(registry, "a", version) for version in ("", "v2", "latest", "v-a")]
    assert asked == ["v-a", "v-a@v2", "v-a@v2", "v-a"]
    await registry.load("a", "v2", aliases=["stable", "canary"])
    asked = [await ask(registry, "a", version) for version in ("", "canary", "v-a")]
    assert asked == ["v-a@v2", "v-a@v2", "v-a"]
    error = await refusal(ask(registry, "a", "v3"))
    assert error.reason is Reason.UNKNOWN_MODEL
    assert "unlabelled v-a, v2 v-a@v2" in error.message
    again = await make("a")
    assert await ask(again, "a") == "v-a@v2", "where an alias points outlives the process"


async def test_a_version_that_comes_into_the_store_later_can_be_loaded(make, tmp_path):
    registry = await make("a")
    put(tmp_path, "a@v2")
    assert (await refusal(ask(registry, "a", "v2"))).reason is Reason.UNKNOWN_MODEL
    await registry.load("a", "v2", pin=True)
    assert await ask(registry, "a", "v2") == "v-a@v2"
    assert held(registry, "a@v2").pinned


async def test_a_failed_load_leaves_what_was_serving(make, backends, tmp_path):
    registry = await make("a")
    put(tmp_path, "a@v2")
    backends.broken = {"a@v2"}
    error = await refusal(registry.load("a", "v2", aliases=["stable"]))
    assert (error.reason, error.message) == (Reason.MODEL_UNAVAILABLE, "a@v2: is broken")
    assert await ask(registry, "a") == "v-a"
    assert states(registry) == {"a": "ready", "a@v2": "failed"}
    backends.broken = set()
    await registry.load("a", "v2", aliases=["stable"])
    assert await ask(registry, "a") == "v-a@v2"


async def test_a_wrong_alias_loads_nothing(make, backends):
    registry = await make("a", "a@v2")
    error = await refusal(registry.load("a", "v2", aliases=["v2"]))
    assert error.reason is Reason.INVALID_ARGUMENT
    assert backends.names() == ["a"]


async def test_a_folder_that_changed_is_loaded_beside_the_old_one_which_finishes(
    make, backends, tmp_path
):
    registry = await make("a", residency=replace(PROMPTLY, notice_seconds=0.2))
    async with registry.generator("a", "", WHO) as (facts, _, _):
        put(tmp_path, "a", "new")
        await registry.load("a", "")
        assert facts.version == "v-a"
        assert await ask(registry, "a") == "new"
        assert await ask(registry, "a", "v-a") == "v-a", "planned before"
        assert [one.version.fingerprint for one in registry.models] == ["new", "v-a"]
    await until(lambda: len(backends.open) == 1)
    await until(lambda: len(registry.models) == 1)
    assert (await refusal(ask(registry, "a", "v-a"))).reason is Reason.UNKNOWN_MODEL


async def test_an_unloaded_folder_that_changed_is_read_anew(make, backends, tmp_path):
    backends.broken = {"a"}
    registry = await make("a", "b", now=False)
    assert (await refusal(ask(registry, "a"))).reason is Reason.MODEL_UNAVAILABLE
    for name in ("a", "b"):
        put(tmp_path, name, f"new-{name}")
        os.utime(tmp_path / name, (1, 1))
    backends.broken = set()
    await registry.scan()
    assert states(registry) == {"a": "unloaded", "b": "unloaded"}
    assert await ask(registry, "a", "new-a") == "new-a"
    assert await ask(registry, "b", "new-b") == "new-b"


async def test_a_folder_that_is_gone_is_forgotten_unless_it_serves(make, tmp_path):
    registry = await make("a", "a@v2")
    shutil.move(tmp_path / "a", tmp_path / ".a")
    shutil.move(tmp_path / "a@v2", tmp_path / ".v2")
    await registry.scan()
    assert states(registry) == {"a": "ready"}
    assert await ask(registry, "a") == "v-a"


async def test_a_folder_that_is_wanted_and_no_model_is_told_as_broken(tmp_path, backends):
    (tmp_path / "empty").mkdir()
    registry = registry_of(tmp_path, backends)
    await registry.start(["empty"])
    assert states(registry) == {"empty": "failed"}
    await registry.close()


async def test_a_changed_folder_that_is_broken_leaves_the_old_one_serving(make, backends, tmp_path):
    registry = await make("a")
    put(tmp_path, "a", "new")
    backends.broken = {"a"}
    assert (await refusal(registry.load("a", ""))).reason is Reason.MODEL_UNAVAILABLE
    assert await ask(registry, "a") == "v-a"
    assert states(registry) == {"a": "ready"}


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
        assert (error.reason, error.retry_after) == (Reason.MODEL_UNAVAILABLE, 1.0)
        assert states(registry) == {"a": "ready", "b": "unloaded"}
    assert await ask(registry, "b") == "v-b"


async def test_where_the_essential_leave_no_room_nothing_is_unloaded_in_vain(
    make, backends, tmp_path
):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=2 * size_of_one(tmp_path))
    registry = await make(residency=budget, pinned=["a", "b"])
    error = await refusal(ask(registry, "c"))
    assert "inference.memory_mib" in error.message
    assert backends.names() == ["a", "b"]
    assert held(registry, "c").state is UNLOADED


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


async def test_what_breaks_where_nobody_expects_it_is_told_to_those_who_wait(
    make, backends, monkeypatch
):
    registry = await make("a", now=False)

    async def open_it(path):
        raise MemoryError

    monkeypatch.setattr(registry._opener, "open", open_it)
    error = await refusal(ask(registry, "a"))
    assert (error.reason, "MemoryError" in error.message) == (Reason.MODEL_UNAVAILABLE, True)
    assert held(registry, "a").state is FAILED


async def test_closing_tells_those_who_wait_for_a_load(make, backends):
    registry = await make("a", now=False)
    backends.gate.clear()
    asking = asyncio.create_task(ask(registry, "a"))
    await until(lambda: held(registry, "a").waiting)
    await registry.close()
    assert (await refusal(asking)).reason is Reason.MODEL_UNAVAILABLE


async def test_a_replacement_does_not_push_out_what_it_replaces(make, backends, tmp_path):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=int(1.5 * size_of_one(tmp_path)))
    registry = await make("a", residency=budget)
    put(tmp_path, "a", "new")
    assert (await refusal(registry.load("a", ""))).reason is Reason.MODEL_UNAVAILABLE
    assert await ask(registry, "a") == "v-a"


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
