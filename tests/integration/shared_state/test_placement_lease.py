"""Of several selectors on one server one at a time places models, and the next knows where."""

import pytest
from tests.support.waiting import until

from llmrouter.common.dialling import Dialler
from llmrouter.common.redis_server import RedisSettings
from llmrouter.selector.placement_settings import PlacementSettings
from llmrouter.selector.placing import KIND, PlacementController
from llmrouter.selector.redis_lease import RedisLease
from llmrouter.selector.redis_state import RedisState
from llmrouter.selector.service import build
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.state_store import SqliteState

LEASE = "llmrouter:selector:placement"


@pytest.fixture
async def selectors(redis_server, tmp_path):
    """Two, each with its lease."""
    made = []
    for name in ("first", "second"):
        lease = RedisLease(LEASE, life=0.6)
        settings = RedisSettings(address=redis_server.address, timeout_seconds=1)
        store = RedisState(settings, SqliteState(tmp_path / f"{name}.sqlite"), 0.05, lease)
        await store.follow(lambda *_: None, await store.load())
        made.append((store, lease))
    yield made
    for store, _ in made:
        await store.close()


async def test_one_holds_it_and_another_once_that_one_is_gone(selectors):
    await until(lambda: any(lease.held() for _, lease in selectors))
    [holder] = [one for one in selectors if one[1].held()]
    [other] = [one for one in selectors if one is not holder]
    await holder[0].close()
    await until(other[1].held)
    assert not holder[1].held()


async def test_while_the_server_is_away_nobody_holds_it(selectors, redis_server):
    await until(lambda: any(lease.held() for _, lease in selectors))
    redis_server.stop()
    await until(lambda: not any(lease.held() for _, lease in selectors))
    redis_server.start()
    await until(lambda: any(lease.held() for _, lease in selectors))


async def test_where_one_placed_a_version_the_others_know_and_so_do_those_that_start_later(
    redis_server, tmp_path, monkeypatch
):
    told = []
    monkeypatch.setattr(
        PlacementController, "take", lambda self, key, data: told.append((key, data))
    )
    shared = RedisSettings(address=redis_server.address)
    settings = SelectorSettings(inference_addresses=(), redis=shared)
    first = RedisState(shared, SqliteState(tmp_path / "first.sqlite"))
    await first.follow(lambda *_: None, await first.load())
    first.put(KIND, "m v1 host:1", {})
    await until(lambda: redis_server.do("HLEN", "llmrouter:selector:placed"))
    service = await build(settings, Dialler(), tmp_path)
    await service.start()
    try:
        await until(lambda: told == [("m v1 host:1", {})])
        first.put(KIND, "m v1 host:1", None)
        await until(lambda: told[1:] == [("m v1 host:1", None)])
        assert not redis_server.do("HLEN", "llmrouter:selector:placed")
    finally:
        await first.close()
        await service.close()


@pytest.mark.parametrize("mode", ["on", "dry-run"])
async def test_a_selector_takes_it_only_where_it_is_to_place(redis_server, tmp_path, mode):
    shared = RedisSettings(address=redis_server.address)
    placement = PlacementSettings(mode=mode)
    settings = SelectorSettings(inference_addresses=(), placement=placement, redis=shared)
    service = await build(settings, Dialler(), tmp_path)
    lease = RedisLease(LEASE, life=0.6)
    other = RedisState(shared, SqliteState(tmp_path / "other.sqlite"), lease=lease)
    await service.start()
    try:
        if mode == "on":
            await until(lambda: redis_server.do("EXISTS", LEASE))
        await other.follow(lambda *_: None, await other.load())
        if mode != "on":
            await until(lease.held)
        assert lease.held() is (mode != "on")
    finally:
        await other.close()
        await service.close()
