"""What outlives a restart, and what happens when it cannot be kept."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from tests.support.waiting import until
from tests.unit.selector.building import Clock, answered, request_of, served

from llmrouter.selector.breakers import BreakerState
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.rollouts import RolloutSpec, RolloutState
from llmrouter.selector.settings import SelectorSettings
from llmrouter.selector.state_store import SqliteState

HELD = (served("m", "v1"), served("m", "v2"))
SPEC = RolloutSpec("m", "v1", "v2", interval=100, min_samples=10)
KEY = ("m", "v1", "host:1")


async def opened(path, clock, wall=1000.0):
    """A selector that goes on with what the file kept, and its store."""
    store = SqliteState(path)
    selector = ModelSelector(
        SelectorSettings(catalog=()), lambda: HELD, store=store, clock=clock, wall=lambda: wall
    )
    selector.restore(await store.load())
    return selector, store


async def written(store):
    """Return once everything before is written."""
    await asyncio.get_running_loop().run_in_executor(store._thread, lambda: None)


async def test_documents_are_kept_replaced_and_dropped(tmp_path):
    store = SqliteState(tmp_path / "deep" / "state.sqlite")
    assert await store.load() == {}
    store.put("a", "1", {"x": 1})
    store.put("a", "1", {"x": 2})
    store.put("a", "2", {"x": 3})
    store.put("b", "1", {"x": "ä"})
    store.put("a", "2", None)
    await store.close()
    await store.close()
    store.put("a", "3", {"x": 4})
    again = SqliteState(tmp_path / "deep" / "state.sqlite")
    assert await again.load() == {"a": {"1": {"x": 2}}, "b": {"1": {"x": "ä"}}}
    await again.close()


async def test_a_restart_in_the_middle_of_a_rollout_goes_on_with_it(tmp_path):
    path, clock = tmp_path / "state.sqlite", Clock()
    selector, store = await opened(path, clock)
    selector.rollouts.start(SPEC, clock.now)
    for _ in range(8):
        clock.now += 10
        selector.rollouts.observe("m", "v2", answered(), clock.now)
    before = {
        n: selector.select(request_of(model="m", session=str(n)))[1].candidates[0].version
        for n in range(100)
    }
    await store.close()
    later = Clock()
    later.now = 5.0  # another boot, another clock
    again, store = await opened(path, later)
    (rollout,) = again.rollouts.all(later.now)
    assert (rollout.stage, rollout.new.attempts) == (0, 8)
    assert rollout.elapsed == pytest.approx(80)
    for n, version in before.items():
        plan = again.select(request_of(model="m", session=str(n)))[1]
        assert plan.candidates[0].version == version
    later.now += 21
    for _ in range(2):
        again.rollouts.observe("m", "v2", answered(), later.now)
    assert rollout.stage == 1
    await store.close()


async def test_an_ended_rollout_stays_ended_after_a_restart(tmp_path):
    path, clock = tmp_path / "state.sqlite", Clock()
    selector, store = await opened(path, clock)
    selector.rollouts.start(SPEC, clock.now)
    selector.rollouts.abort("m", clock.now)
    await store.close()
    again, store = await opened(path, clock)
    (rollout,) = again.rollouts.all(clock.now)
    assert rollout.state is RolloutState.ABORTED
    await store.close()


async def test_an_open_breaker_stays_open_for_the_rest_of_its_time(tmp_path):
    path, clock = tmp_path / "state.sqlite", Clock()
    selector, store = await opened(path, clock, wall=1000)
    for _ in range(5):
        selector.breakers.fail(KEY, "INTERNAL", clock.now)
    await store.close()
    again, store = await opened(path, clock, wall=1020)
    ((key, breaker),) = again.breakers.troubled()
    assert (key, breaker.last_error) == (KEY, "INTERNAL")
    assert breaker.retry_in(clock.now) == pytest.approx(40)
    again.breakers.reset()
    await store.close()
    third, store = await opened(path, clock)
    assert third.breakers.state(KEY, clock.now) is BreakerState.CLOSED
    await store.close()


@pytest.mark.parametrize("wall", [1060.0, 1e12])
async def test_a_breaker_whose_time_ran_out_in_between_lets_everyone_through(tmp_path, wall):
    path, clock = tmp_path / "state.sqlite", Clock()
    selector, store = await opened(path, clock, wall=1000)
    for _ in range(5):
        selector.breakers.fail(KEY, "INTERNAL", clock.now)
    await store.close()
    again, store = await opened(path, clock, wall=wall)
    assert not list(again.breakers.troubled())
    for _ in range(20):
        assert again.select(request_of(model="m"))[1].candidates
    await store.close()
    left = SqliteState(path)
    assert not (await left.load()).get("breaker")
    await left.close()


async def test_a_wall_clock_that_was_put_back_opens_no_breaker_for_longer(tmp_path):
    path, clock = tmp_path / "state.sqlite", Clock()
    selector, store = await opened(path, clock, wall=1000)
    for _ in range(5):
        selector.breakers.fail(KEY, "INTERNAL", clock.now)
    await store.close()
    again, store = await opened(path, clock, wall=10.0)
    ((_, breaker),) = again.breakers.troubled()
    assert breaker.retry_in(clock.now) == pytest.approx(60)
    await store.close()


async def test_a_damaged_file_is_set_aside_and_begun_anew(tmp_path):
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"this is no database at all, it is a text" * 100)
    store = SqliteState(path)
    assert await store.load() == {}
    assert (tmp_path / "state.sqlite.damaged").exists()
    store.put("a", "1", {})
    await store.close()
    again = SqliteState(path)
    assert await again.load() == {"a": {"1": {}}}
    assert not again.trouble
    await again.close()


async def test_a_file_that_cannot_be_opened_is_told_and_the_selector_goes_on(tmp_path):
    (tmp_path / "file").write_text("")
    selector, store = await opened(tmp_path / "file" / "state.sqlite", Clock())
    assert "a restart forgets what changes" in store.trouble
    selector.rollouts.start(SPEC, 100.0)
    assert selector.select(request_of(model="m"))[1].candidates
    await store.close()


async def test_a_store_that_fails_and_works_again_says_so(tmp_path):
    path = tmp_path / "state.sqlite"
    store = SqliteState(path)
    await store.load()
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE state RENAME TO gone")
    store.put("a", "1", {})
    await written(store)
    assert "cannot be used" in store.trouble
    with sqlite3.connect(path) as other:
        other.execute("ALTER TABLE gone RENAME TO state")
    store.put("a", "1", {})
    await written(store)
    assert store.trouble == ""
    await store.close()


async def test_a_file_without_its_table_gets_it_with_the_next_document_and_what_was_owed(tmp_path):
    path = tmp_path / "state.sqlite"
    store = SqliteState(path)
    await store.load()
    with sqlite3.connect(path) as other:  # as a disk leaves it that was full at the start
        other.execute("DROP TABLE state")
    store.put("a", "1", {"x": 1})
    store.put("a", "1", {"x": 2})
    store.put("a", "2", {"x": 3})
    await store.close()
    assert store.trouble == ""
    again = SqliteState(path)
    assert await again.load() == {"a": {"1": {"x": 2}, "2": {"x": 3}}}
    await again.close()


async def test_a_store_that_could_not_be_opened_is_opened_later_without_being_asked(tmp_path):
    (tmp_path / "file").write_text("")
    store = SqliteState(tmp_path / "file" / "state.sqlite", again=0.01)
    await store.load()
    store.put("a", "1", {"x": 1})
    await written(store)
    (tmp_path / "file").unlink()
    await until(lambda: not store.trouble)
    await store.close()
    again = SqliteState(tmp_path / "file" / "state.sqlite")
    assert await again.load() == {"a": {"1": {"x": 1}}}
    await again.close()


async def test_kept_documents_that_make_no_sense_are_left_out(tmp_path):
    path = tmp_path / "state.sqlite"
    store = SqliteState(path)
    await store.load()
    store.put("rollout", "m", {"spec": {}})
    store.put("breaker", "x", {"model": "m"})
    await written(store)
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO state VALUES ('rollout', 'n', 'no json')")
        other.execute("INSERT INTO state VALUES ('rollout', 'o', '[1]')")
    await store.close()
    selector, store = await opened(path, Clock())
    assert not list(selector.rollouts.all(0))
    assert not list(selector.breakers.troubled())
    await store.close()
