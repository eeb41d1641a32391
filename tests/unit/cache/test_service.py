"""The cache gives answers back to the tenant that stored them, from the fastest level."""

from __future__ import annotations

import asyncio
import time

import pytest
from pydantic import ValidationError
from tests.unit.cache.serving import KEY, answer, lookup, store, who

from llmrouter.cache import compression
from llmrouter.cache.service import build
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import steady_clock
from llmrouter.common.answer_key import stored_key
from llmrouter.common.dialling import Dialler
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.wire import seconds
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1 import generation_pb2 as generation


async def test_a_stored_answer_is_found_in_memory_with_its_age(opened, clock):
    service = await opened()
    assert not (await lookup(service)).HasField("found")
    await store(service)
    clock.now += 2.5
    found = await lookup(service)
    assert found.found.answer == answer()
    assert found.found.level == generation.CACHE_LEVEL_MEMORY
    assert seconds(found.found.age) == 2.5


async def test_after_a_restart_the_disk_answers_once_and_memory_from_then_on(
    opened, clock, tmp_path
):
    first = await opened(disk_path=tmp_path / "answers")
    await store(first, ttl=60)
    await first._tiers.close()
    first._tiers._far = None
    clock.now += 10
    second = await opened(disk_path=tmp_path / "answers")
    found = await lookup(second)
    assert (found.found.level, found.found.answer) == (generation.CACHE_LEVEL_DISK, answer())
    assert seconds(found.found.age) == 10
    again = await lookup(second)
    assert again.found.level == generation.CACHE_LEVEL_MEMORY
    assert seconds(again.found.age) == 10
    clock.now += 50
    assert not (await lookup(second)).HasField("found")


@pytest.mark.parametrize("on_disk", [False, True])
async def test_no_tenant_sees_the_answer_of_another(opened, tmp_path, on_disk):
    chosen = {"memory_max_bytes": 0, "disk_path": tmp_path / "answers"} if on_disk else {}
    service = await opened(**chosen)
    await store(service, "for a", tenant="a")
    assert not (await lookup(service, tenant="b")).HasField("found")
    await store(service, "for b", tenant="b")
    assert (await lookup(service, tenant="a")).found.answer == answer("for a")
    assert (await lookup(service, tenant="b")).found.answer == answer("for b")


def test_no_tenant_can_be_named_so_that_its_keys_meet_those_of_another():
    assert stored_key("ab", b"c" * 32) != stored_key("a", b"b" + b"c" * 32)
    assert len(stored_key("a", KEY)) == 32


async def test_the_default_time_to_live_is_the_configured_one(opened, clock):
    service = await opened(default_ttl_seconds=5)
    await store(service)
    clock.now += 4.9
    assert (await lookup(service)).HasField("found")
    clock.now += 0.1
    assert not (await lookup(service)).HasField("found")


@pytest.mark.parametrize("key", [b"", b"x" * 31, b"x" * 33])
async def test_a_key_of_another_length_is_refused_naming_both(opened, key):
    service = await opened()
    for call in (store(service, key=key), lookup(service, key=key)):
        with pytest.raises(RouterError, match=rf"key: has {len(key)} bytes.*32") as caught:
            await call
        assert caught.value.violations[0].field == "key"


@pytest.mark.parametrize("tenant", ["", "x" * 129])
async def test_a_missing_or_endless_tenant_is_refused(opened, tenant):
    service = await opened()
    for call in (store(service, tenant=tenant), lookup(service, tenant=tenant)):
        with pytest.raises(RouterError) as caught:
            await call
        assert caught.value.violations[0].field == "context.tenant"


@pytest.mark.parametrize("ttl", [0, 0.999, -1, 365 * 86_400 + 1])
async def test_a_time_to_live_out_of_bounds_is_refused(opened, ttl):
    service = await opened()
    with pytest.raises(RouterError) as caught:
        await store(service, ttl=ttl)
    assert caught.value.violations[0].field == "ttl"


@pytest.mark.parametrize("ttl", [1, 365 * 86_400])
async def test_the_bounds_of_the_time_to_live_are_allowed(opened, ttl):
    service = await opened()
    await store(service, ttl=ttl)
    assert (await lookup(service)).HasField("found")


async def test_an_answer_beyond_the_limit_is_refused_naming_both_numbers(opened):
    service = await opened(max_entry_bytes=1024)
    size = answer("x" * 2000).ByteSize()
    with pytest.raises(RouterError, match=rf"{size}.*1024") as caught:
        await store(service, "x" * 2000)
    assert caught.value.reason is Reason.ENTRY_TOO_LARGE
    assert caught.value.metadata == {"bytes": str(size), "max_bytes": "1024"}


async def test_a_store_without_an_answer_is_refused(opened):
    service = await opened()
    with pytest.raises(RouterError) as caught:
        await service.Store(pb.StoreRequest(context=who(), key=KEY), None)
    assert caught.value.violations[0].field == "answer.choices"


async def test_memory_does_not_keep_what_the_disk_refused(opened, tmp_path):
    service = await opened(disk_path=tmp_path / "answers")

    async def refuse(key, record):
        raise RouterError(Reason.STORE_FAILED, "full")

    service._tiers._far.put = refuse
    with pytest.raises(RouterError):
        await store(service)
    assert not (await lookup(service)).HasField("found")


async def test_a_lookup_that_was_overtaken_by_a_store_does_not_undo_it(opened, tmp_path):
    service = await opened(disk_path=tmp_path / "answers")
    await store(service, "old")
    service._tiers._memory.clear()
    disk = service._tiers._far
    read, go_on = disk.get, asyncio.Event()

    async def slow(key, serves, **how):
        record = await read(key, serves, **how)
        await go_on.wait()
        return record

    disk.get = slow
    late = asyncio.create_task(lookup(service))
    await asyncio.sleep(0.05)
    await store(service, "new")
    go_on.set()
    await late
    assert (await lookup(service)).found.answer == answer("new")


async def test_statistics_count_each_level_fastest_first(opened, tmp_path):
    service = await opened(disk_path=tmp_path / "answers")
    await lookup(service)
    await store(service)
    await lookup(service)
    gateways, memory, disk = (await service.GetStatistics(pb.GetStatisticsRequest(), None)).levels
    assert gateways.level == generation.CACHE_LEVEL_GATEWAY
    assert memory.level == generation.CACHE_LEVEL_MEMORY
    assert (memory.entries, memory.hits, memory.misses) == (1, 1, 1)
    assert memory.max_bytes == 64 << 20
    assert disk.level == generation.CACHE_LEVEL_DISK
    assert (disk.entries, disk.hits, disk.misses) == (1, 0, 1)
    assert 0 < disk.bytes <= disk.max_bytes == 1 << 30


async def test_of_two_looks_for_one_request_a_miss_counts_once_and_a_hit_at_either(
    opened, tmp_path
):
    service = await opened(disk_path=tmp_path / "answers")
    ahead = pb.LookupRequest(context=who(), key=KEY, ahead=True)
    await service.Lookup(ahead, None)
    await lookup(service)
    await store(service)
    assert (await service.Lookup(ahead, None)).HasField("found")
    _, memory, disk = (await service.GetStatistics(pb.GetStatisticsRequest(), None)).levels
    assert (memory.hits, memory.misses, disk.hits, disk.misses) == (1, 1, 0, 1)


async def test_many_callers_at_once_are_served(opened, tmp_path):
    service = await opened(disk_path=tmp_path / "answers")
    keys = [bytes([number]) * 32 for number in range(40)]
    await asyncio.gather(*(store(service, str(key[0]), key=key) for key in keys))
    service._tiers._memory.clear()
    found = await asyncio.gather(*(lookup(service, key=key) for key in keys))
    assert [one.found.answer.choices[0].text for one in found] == [str(key[0]) for key in keys]


async def test_answers_go_to_the_data_directory_unless_told_otherwise(tmp_path):
    service = await build(CacheSettings(), Dialler(), tmp_path)
    await service.close()
    assert list((tmp_path / "answers").iterdir())
    service = await build(CacheSettings(disk_path=tmp_path / "there"), Dialler(), tmp_path / "not")
    await service.close()
    assert list((tmp_path / "there").iterdir())
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("named", [False, True])
async def test_a_disk_of_no_bytes_leaves_answers_in_memory_only(tmp_path, named):
    chosen = {"disk_path": tmp_path / "answers"} if named else {}
    service = await build(CacheSettings(disk_max_bytes=0, **chosen), Dialler(), tmp_path)
    await service.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("disk", [1, (4 << 20) - 1])
def test_settings_refuse_a_disk_too_small_for_a_store(disk):
    with pytest.raises(ValidationError, match="must be 0 or at least 4194304"):
        CacheSettings(disk_max_bytes=disk, max_entry_bytes=1024)


def test_settings_refuse_a_disk_that_holds_few_answers_and_unknown_fields():
    with pytest.raises(ValidationError, match="64 times max_entry_bytes 2097152"):
        CacheSettings(disk_max_bytes=4 << 20, max_entry_bytes=2 << 20)
    with pytest.raises(ValidationError):
        CacheSettings(memory=1)


@pytest.mark.parametrize("jump", [-30.0, -3_600.0, 3_600.0])
async def test_a_clock_that_was_set_makes_no_answer_live_longer(opened, clock, tmp_path, jump):
    first = await opened(disk_path=tmp_path / "answers")
    await store(first, ttl=100)
    await first._tiers.close()
    clock.now += jump
    second = await opened(disk_path=tmp_path / "answers")
    served = (await lookup(second)).HasField("found")
    assert served == (jump == -30.0)  # a little: clocks of machines differ
    clock.now += 131
    assert not (await lookup(second)).HasField("found")


def test_the_clock_of_the_service_is_not_that_which_can_be_set(monkeypatch):
    clock = steady_clock()
    before = clock()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock() >= before > 1e9


async def test_a_dictionary_is_learned_from_what_is_stored_and_used_after_a_restart(
    opened, tmp_path, monkeypatch
):
    monkeypatch.setattr(compression, "_SAMPLES", 64)
    service = await opened(disk_path=tmp_path / "answers")
    keys = [bytes([number]) * 32 for number in range(80)]
    texts = [f"The answer to question {key[0]} is {key[0] * 7}, I think. " * 4 for key in keys]
    for key, text in zip(keys, texts, strict=True):
        await store(service, text, key=key)
    await service._tiers.close()
    again = await opened(disk_path=tmp_path / "answers")
    assert again._tiers._packer.newest is not None
    for key, text in zip(keys, texts, strict=True):
        assert (await lookup(again, key=key)).found.answer == answer(text)


@pytest.mark.parametrize("level", ["memory", "disk"])
async def test_an_expired_answer_is_found_by_who_asks_for_stale_ones_as_long_as_it_is_kept(
    opened, clock, tmp_path, level
):
    disk = {"memory_max_bytes": 0, "disk_path": tmp_path / "a"} if level == "disk" else {}
    service = await opened(stale_seconds=100, **disk)
    await store(service, ttl=10)
    clock.now += 12
    asked = pb.LookupRequest(context=who(), key=KEY, stale=True)
    assert not (await lookup(service)).HasField("found")
    found = (await service.Lookup(asked, None)).found
    assert (found.answer, seconds(found.remaining)) == (answer(), -2)
    clock.now += 98
    assert not (await service.Lookup(asked, None)).HasField("found")


async def test_an_invalidated_answer_is_not_even_found_as_a_stale_one(opened, clock):
    service = await opened()
    await store(service, ttl=10, tags=["t"])
    await service.Invalidate(pb.InvalidateRequest(context=who(), tag="t"), None)
    asked = pb.LookupRequest(context=who(), key=KEY, stale=True)
    assert not (await service.Lookup(asked, None)).HasField("found")
