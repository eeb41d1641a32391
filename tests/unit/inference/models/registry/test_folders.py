"""Folders come, change and go while their models are not loaded."""

from __future__ import annotations

import asyncio
import os
import shutil

from tests.unit.inference.models.fake_backend import put, registry_of
from tests.unit.inference.models.registry.asking import ask, refusal, states, until

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
