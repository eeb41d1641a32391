"""Versions stand side by side, aliases move between them, folders change below them."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace

from tests.unit.inference.models.fake_backend import PROMPTLY, WHO, put
from tests.unit.inference.models.registry.asking import ask, held, refusal, states, until

from llmrouter.common.errors import Reason
from llmrouter.inference.models.alias_file import ALIAS_FILE


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


async def test_aliases_of_several_models_move_at_the_same_time_and_none_is_lost(make):
    registry = await make("a", "b")
    wanted = [f"p{index}" for index in range(10)]
    moves = [registry.load(name, "", aliases=[one]) for one in wanted for name in "ab"]
    await asyncio.gather(*moves)
    for seen in (registry, await make("a", "b")):
        assert all(set(wanted) <= set(seen.shelf.aliases(name)) for name in "ab")


async def test_services_of_one_store_see_and_keep_each_others_aliases(make):
    one, two = await make("a", "a@v2", "b", "b@v2"), await make("a")
    await one.load("a", "v2", aliases=["stable"])
    await two.load("b", "v2", aliases=["stable"])
    await one.scan()
    for seen in (one, two, await make("a")):
        assert [str(seen.shelf.aliases(name)["stable"]) for name in "ab"] == ["a@v2", "b@v2"]


async def test_a_file_of_aliases_that_breaks_leaves_them_where_they_are(make, tmp_path):
    registry = await make("a", "a@v2")
    await registry.load("a", "v2", aliases=["stable"])
    (tmp_path / ALIAS_FILE).write_text("[]")
    await registry.scan()
    assert await ask(registry, "a") == "v-a@v2"
    error = await refusal(registry.load("a", "", aliases=["stable"]))
    assert error.reason is Reason.MODEL_UNAVAILABLE
    assert ALIAS_FILE in error.message


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


async def test_a_changed_folder_that_is_broken_leaves_the_old_one_serving(make, backends, tmp_path):
    registry = await make("a")
    put(tmp_path, "a", "new")
    backends.broken = {"a"}
    assert (await refusal(registry.load("a", ""))).reason is Reason.MODEL_UNAVAILABLE
    assert await ask(registry, "a") == "v-a"
    assert states(registry) == {"a": "ready"}


async def test_a_folder_of_an_odd_name_does_no_harm_to_others(make, tmp_path):
    await make("a")
    for name in ("a copy", "@x", os.fsdecode(b"caf\xe9")):
        shutil.copytree(tmp_path / "a", tmp_path / name)
    assert states(await make("a")) == {"a": "ready"}
