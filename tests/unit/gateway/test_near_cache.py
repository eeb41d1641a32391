"""The gateway's own answers: served only while it hears, and only what is alive."""

import asyncio
from dataclasses import replace

import pytest
from tests.support.waiting import until
from tests.unit.gateway.doubles import error, near_cache

from llmrouter.common.generation import CacheLevel, FinishReason, Usage
from llmrouter.common.invalidation import model_label, tag_label, tenant_label
from llmrouter.common.savings import HitKind, Saved, SavingsTable, Spared
from llmrouter.gateway import watching
from llmrouter.gateway.answer_cache import News
from llmrouter.gateway.answers import Answer, Choice
from llmrouter.gateway.near_cache import NearCache
from llmrouter.gateway.watching import CacheWatch

KEY = bytes(32)
ANSWER = Answer("m", "v", (Choice("Paris", FinishReason.STOP),), Usage(3, 2))
FIRST = News(7, 0, session="s", store_id=b"store", default_ttl=60.0)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def put(near, as_of=7, tenant="default", tags=("t",), ttl=60.0):
    return near.put(tenant, KEY, ANSWER, tags, ttl, as_of)


def test_it_serves_only_for_a_moment_after_it_last_heard():
    clock = Clock()
    near = near_cache(clock=clock)
    assert put(near)
    clock.now += 0.74
    assert near.get("default", KEY) is ANSWER
    clock.now += 0.02
    assert near.get("default", KEY) is None
    assert not put(near)
    near.hear(News(7, 0))
    assert near.get("default", KEY) is ANSWER


def test_it_serves_nothing_once_the_stream_is_lost_and_all_of_it_when_it_is_back():
    near = near_cache()
    put(near)
    near.lost()
    assert near.get("default", KEY) is None
    assert near.session == ""
    near.hear(replace(FIRST, session="s2"))
    assert near.get("default", KEY) is ANSWER


def test_before_it_ever_heard_it_serves_nothing():
    near = NearCache(1 << 20)
    assert not put(near)
    assert near.get("default", KEY) is None


@pytest.mark.parametrize(
    "label", [tag_label("default", "t"), tenant_label("default"), model_label("m", "v")]
)
def test_what_is_invalidated_is_not_served_whenever_it_was_put(label):
    near = near_cache()
    put(near)
    near.hear(News(8, 0, ((label, 8),)))
    assert near.get("default", KEY) is None
    assert not put(near, as_of=7)
    assert put(near, as_of=8)
    assert near.get("default", KEY) is ANSWER


def test_a_floor_kills_all_that_began_before_it():
    near = near_cache()
    put(near)
    near.hear(News(9, 9))
    assert near.get("default", KEY) is None


def test_another_store_than_before_means_that_nothing_held_is_usable():
    near = near_cache()
    put(near)
    near.hear(replace(FIRST, store_id=b"another"))
    assert near.get("default", KEY) is None
    assert near.counts().entries == 0


def test_it_does_not_serve_between_the_parts_of_what_it_missed():
    near = near_cache()
    put(near)
    near.lost()
    near.hear(replace(FIRST, session="s2", more=True))
    assert near.get("default", KEY) is None
    near.hear(News(7, 0))
    assert near.get("default", KEY) is ANSWER


def test_tenants_do_not_share_and_times_to_live_are_kept():
    clock = Clock()
    near = near_cache(clock=clock)
    put(near, ttl=0.5)
    assert near.get("other", KEY) is None
    clock.now += 0.5
    assert near.get("default", KEY) is None
    near.hear(News(7, 0))
    assert not put(near, ttl=0)


class Watched:
    """A cache service whose streams and failures are scripted."""

    def __init__(self, *streams, report_error=None):
        self.streams = list(streams)
        self.asked = []
        self.reports = []
        self.report_error = report_error

    async def watch(self, store_id, after):
        self.asked.append((store_id, after))
        for step in self.streams.pop(0) if self.streams else [asyncio.Event()]:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, BaseException):
                raise step
            else:
                yield step

    async def report(self, session, counts, rows):
        if self.report_error is not None:
            failing, self.report_error = self.report_error, None
            raise failing
        self.reports.append((session, rows))


async def test_a_stream_that_breaks_is_followed_anew_from_where_it_was():
    near = NearCache(1 << 20)
    watched = Watched([FIRST, News(9, 0), error()], [], [replace(FIRST, sequence=9)])
    watch = CacheWatch(watched, near, SavingsTable())
    await watch.start()
    await until(lambda: len(watched.asked) == 4)
    await watch.close()
    assert watched.asked == [(b"", 0), (b"store", 9), (b"store", 9), (b"store", 9)]
    assert not near.hears


async def test_a_silent_stream_is_taken_for_dead(monkeypatch):
    monkeypatch.setattr(watching, "_SILENCE_SECONDS", 0.02)
    watched = Watched([FIRST, asyncio.Event()], [FIRST, asyncio.Event()])
    watch = CacheWatch(watched, NearCache(1 << 20), SavingsTable())
    await watch.start()
    await until(lambda: len(watched.asked) == 2)
    await watch.close()


async def test_savings_are_reported_once_and_kept_when_nobody_took_them(monkeypatch):
    monkeypatch.setattr(watching, "_REPORT_SECONDS", 0.01)
    savings, saved = SavingsTable(), Saved("t", "m", CacheLevel.GATEWAY, HitKind.EXACT)
    savings.add(saved, Spared(1, 2, 3, 0.5, 4.0))
    savings.add(saved, Spared(1, 2, 3, 0.5, 4.0))
    watched = Watched([FIRST, asyncio.Event()], report_error=error())
    watch = CacheWatch(watched, NearCache(1 << 20), savings)
    await watch.start()
    await until(lambda: len(watched.reports) == 2)
    await watch.close()
    assert watched.reports[0] == ("s", [(saved, Spared(2, 4, 6, 1.0, 8.0))])
    assert all(report == ("s", []) for report in watched.reports[1:])


async def test_what_is_untold_at_the_end_is_told_then():
    savings, saved = SavingsTable(), Saved("t", "m", CacheLevel.GATEWAY, HitKind.EXACT)
    watched = Watched([FIRST, asyncio.Event()])
    near = NearCache(1 << 20)
    watch = CacheWatch(watched, near, savings)
    await watch.start()
    await until(lambda: near.session)
    savings.add(saved, Spared(1))
    await watch.close()
    assert watched.reports == [("s", [(saved, Spared(1))])]


def test_a_table_of_savings_is_bounded(monkeypatch):
    monkeypatch.setattr("llmrouter.common.savings._MOST", 2)
    table = SavingsTable()
    for number in range(5):
        table.add(Saved(f"t{number}", "m", None, HitKind.JOINED), Spared(1))
    assert {saved.tenant: spared.hits for saved, spared in table.rows()} == {
        "t0": 1,
        "t1": 1,
        "*": 3,
    }
