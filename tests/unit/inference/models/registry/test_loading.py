"""Models come into memory: one load for all who wait, and what is broken is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.unit.inference.models.fake_backend import PROMPTLY, put, registry_of
from tests.unit.inference.models.registry.asking import ask, held, refusal, states, until
from tests.unit.inference.models.test_integrity import damage, imported

from llmrouter.common.errors import Reason
from llmrouter.common.generation import RequestContext
from llmrouter.inference.models.residency import ModelState


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


async def test_what_breaks_where_nobody_expects_it_is_told_to_those_who_wait(
    make, backends, monkeypatch
):
    registry = await make("a", now=False)

    async def open_it(path):
        raise MemoryError

    monkeypatch.setattr(registry._opener, "open", open_it)
    error = await refusal(ask(registry, "a"))
    assert (error.reason, "MemoryError" in error.message) == (Reason.MODEL_UNAVAILABLE, True)
    assert held(registry, "a").state is ModelState.FAILED


async def test_closing_tells_those_who_wait_for_a_load(make, backends):
    registry = await make("a", now=False)
    backends.gate.clear()
    asking = asyncio.create_task(ask(registry, "a"))
    await until(lambda: held(registry, "a").waiting)
    await registry.close()
    assert (await refusal(asking)).reason is Reason.MODEL_UNAVAILABLE


async def test_a_load_that_does_not_end_is_given_up_and_others_are_loaded(make, backends):
    registry = await make("a", "b", now=False, residency=replace(PROMPTLY, load_seconds=2.0))
    backends.gate.clear()
    error = await refusal(registry.load("a", ""))
    assert (error.reason, error.message) == (
        Reason.MODEL_UNAVAILABLE,
        "'a' was not loaded within 2 s; import it again",
    )
    backends.gate.set()
    assert await ask(registry, "b") == "v-b"
    assert states(registry) == {"a": "failed", "b": "ready"}
    await registry.load("a", "")
    assert backends.names() == ["a", "b"]


async def test_while_a_service_starts_its_other_versions_are_told_to_be_coming(tmp_path, backends):
    backends.gate.clear()
    for name in ("a@v1", "a@v2", "b"):
        put(tmp_path, name)
    registry = registry_of(tmp_path, backends)
    starting = asyncio.create_task(registry.start())
    await until(lambda: backends.loads)
    for name, version in (("a", "v1"), ("a", "v2"), ("b", "")):
        error = await refusal(ask(registry, name, version))
        assert (error.reason, error.retry_after) == (Reason.MODEL_UNAVAILABLE, 1.0)
        assert "still loading" in error.message
    backends.gate.set()
    await starting
    assert [await ask(registry, "a", one) for one in ("v1", "v2")] == ["v-a@v1", "v-a@v2"]
    await registry.close()


async def test_closing_begins_nothing_that_waited_for_its_turn(make, backends):
    registry = await make("a", now=False)
    backends.gate.clear()
    loading = [asyncio.create_task(registry.load("a", "")) for _ in range(2)]
    await until(lambda: backends.loads)
    await registry.close()
    backends.gate.set()
    await asyncio.wait(loading)
    assert all(one.cancelled() for one in loading)
    assert (backends.loads, backends.open) == (["a"], [])
