"""Folders come, change and go while their models are not loaded."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace

import pytest
from tests.unit.inference.models.fake_backend import PROMPTLY, WHO, Clock, put, registry_of
from tests.unit.inference.models.registry.asking import (
    ask,
    held,
    refusal,
    size_of_one,
    states,
    until,
)

from llmrouter.common.errors import Reason
from llmrouter.inference.models.shelf import Shelf


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


def put_anew(store, name):
    """Replace a version by another one, at a time of its own however fast that was."""
    os.utime(put(store, name, f"new-{name}"), (1, 1))


@pytest.mark.parametrize("looked", [True, False])
async def test_a_served_folder_that_changed_is_told_as_what_it_holds_once_it_was_unloaded(
    make, tmp_path, looked
):
    clock = Clock()
    registry = await make("a", clock=clock)
    put_anew(tmp_path, "a")
    if looked:
        await registry.scan()
    assert held(registry, "a").version.fingerprint == "v-a", "it serves still"
    clock.now += 600
    await registry.lifecycle.sweep(600)
    if not looked:
        await registry.scan()
    assert held(registry, "a").version.fingerprint == "new-a"
    assert held(registry, "a").obtainable
    assert (await refusal(ask(registry, "a", "v-a"))).reason is Reason.UNKNOWN_MODEL
    assert await ask(registry, "a", "new-a") == "new-a"


async def test_who_asks_for_what_a_folder_held_is_not_answered_by_what_it_holds(make, tmp_path):
    registry = await make("a", "a@v2", now=False)
    for name in ("a", "a@v2"):
        put_anew(tmp_path, name)  # and nobody has looked since
    error = await refusal(ask(registry, "a", "v-a"))
    assert error.reason is Reason.UNKNOWN_MODEL
    assert error.message == "version v-a of 'a' was replaced: its folder holds new-a now"
    assert held(registry, "a").users == 0
    assert [await ask(registry, "a", one) for one in ("", "v2")] == ["new-a", "new-a@v2"]


async def test_what_is_loaded_by_its_fingerprint_is_that_or_nothing(make, backends, tmp_path):
    registry = await make("a", "b", now=False)
    await registry.load("a", "v-a")
    for name in "ab":
        put_anew(tmp_path, name)
        os.utime(tmp_path / name, (held(registry, name).installed,) * 2)
    await registry.load("a", "v-a", aliases=["stable"])
    assert await ask(registry, "a", "v-a") == "v-a", "it serves, and stays"
    assert (await refusal(registry.load("b", "v-b"))).reason is Reason.UNKNOWN_MODEL
    assert backends.loads == ["a"]
    await registry.load("a", "")
    assert await ask(registry, "a") == "new-a"


@pytest.fixture
async def replacing(make, backends, tmp_path):
    """A registry whose `a` is being replaced, held until the gate of the backends is open."""
    registry = await make("a")
    put_anew(tmp_path, "a")
    backends.gate.clear()
    loading = asyncio.create_task(registry.load("a", ""))
    await until(lambda: len(backends.loads) == 2)
    yield registry
    await loading


async def test_whoever_unloads_a_name_while_it_is_replaced_unloads_what_it_is_replaced_by(
    replacing, backends
):
    unloading = asyncio.create_task(replacing.unload("a", ""))
    await asyncio.sleep(0)
    backends.gate.set()
    assert (await unloading).version.fingerprint == "new-a"
    await until(lambda: not backends.open)
    assert states(replacing) == {"a": "unloaded"}


async def test_whoever_unloads_a_fingerprint_while_it_is_replaced_unloads_that_or_nothing(
    replacing, backends
):
    async with replacing.generator("a", "v-a", WHO):
        unloading = [asyncio.create_task(replacing.unload("a", "v-a", 0)) for _ in range(2)]
        await asyncio.sleep(0)
        backends.gate.set()
        await unloading[0]
        assert len(backends.open) == 1, "what ran on it was cut"
    error = await refusal(unloading[1])
    assert error.reason is Reason.UNKNOWN_MODEL
    assert error.message == "version v-a of 'a' was replaced: its folder holds new-a now"
    assert await ask(replacing, "a") == "new-a"


async def test_a_load_whose_caller_is_cancelled_goes_on_and_the_next_one_takes_what_it_made(
    make, backends, tmp_path
):
    registry = await make("a")
    put_anew(tmp_path, "a")
    backends.gate.clear()
    first, second = (asyncio.create_task(registry.load("a", "")) for _ in range(2))
    await until(lambda: len(backends.loads) == 2)
    first.cancel()
    await asyncio.wait({first})
    backends.gate.set()
    assert (await second).version.fingerprint == "new-a"
    await until(lambda: len(backends.open) == 1)
    assert backends.loads == ["a", "a"]
    await registry.close()
    assert backends.open == []


async def test_room_is_made_for_what_a_folder_holds_now(make, backends, tmp_path):
    put(tmp_path, "a")
    budget = replace(PROMPTLY, memory_bytes=2 * size_of_one(tmp_path))
    registry = await make("a", now=False, residency=budget)
    put_anew(tmp_path, "a")
    with (tmp_path / "a" / "tokenizer_config.json").open("a") as stream:
        stream.write(" " * size_of_one(tmp_path))
    assert "inference.memory_mib" in (await refusal(ask(registry, "a"))).message
    assert backends.loads == []


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


async def test_a_folder_that_vanishes_while_the_store_is_read_harms_no_other(
    make, tmp_path, monkeypatch
):
    registry = await make("a", "b")

    def folders(shelf, names=Shelf.names_in_store):
        found = names(shelf)
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        return found

    monkeypatch.setattr(Shelf, "names_in_store", folders)
    await registry.scan()
    assert await ask(registry, "a") == "v-a"


async def test_a_folder_that_is_away_while_its_model_is_loaded_is_kept(make, backends, tmp_path):
    registry = await make("a", "b", now=False)
    backends.gate.clear()
    loading = [asyncio.create_task(ask(registry, name)) for name in "ab"]
    await until(lambda: backends.loads)
    for name in "ab":
        shutil.move(tmp_path / name, tmp_path / f".{name}")
    await registry.scan()
    assert states(registry) == {"a": "loading", "b": "unloaded"}
    for name in "ab":
        shutil.move(tmp_path / f".{name}", tmp_path / name)
    backends.gate.set()
    assert await asyncio.gather(*loading) == ["v-a", "v-b"]
