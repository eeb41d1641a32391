"""What is invalidated is served no more, at any level, over a restart and for whoever watches."""

import asyncio
import contextlib

import pytest
from tests.unit.cache.serving import KEY, answer, lookup, store, who

from llmrouter.cache import invalidations as broadcasting
from llmrouter.common.answer_key import stored_key
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.invalidation import key_label, tag_label
from llmrouter.v1 import cache_pb2 as pb
from llmrouter.v1 import generation_pb2 as generation

OTHER_KEY = bytes(range(1, 33))


async def invalidate(service, by="default", **target):
    request = pb.InvalidateRequest(context=who(by), **target)
    return (await service.Invalidate(request, None)).sequence


async def found(service, tenant="default", key=KEY):
    return (await lookup(service, tenant, key)).HasField("found")


TARGETS = {
    "key": {"key": KEY},
    "tag": {"tag": "t"},
    "version": {"model": {"model": "m", "version": "v"}},
    "model": {"model": {"model": "m"}},
    "tenant": {"tenant": True},
}
MISSES = {
    "key": {"key": OTHER_KEY},
    "tag": {"tag": "u"},
    "version": {"model": {"model": "m", "version": "w"}},
    "model": {"model": {"model": "n"}},
}


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("level", ["memory", "disk"])
async def test_an_answer_is_served_until_something_of_it_is_invalidated(
    opened, tmp_path, name, level
):
    chosen = {"memory_max_bytes": 0, "disk_path": tmp_path / "a"} if level == "disk" else {}
    service = await opened(**chosen)
    await store(service, tags=["s", "t"])
    if name in MISSES:
        await invalidate(service, **MISSES[name])
    assert await found(service)
    await invalidate(service, **TARGETS[name])
    assert not await found(service)
    await store(service, "again", tags=["t"])
    assert (await lookup(service)).found.answer == answer("again", tags=["t"])


@pytest.mark.parametrize("name", ["key", "tag", "tenant"])
async def test_a_tenant_cannot_invalidate_the_answers_of_another(opened, name):
    service = await opened()
    await store(service, tenant="a", tags=["t"])
    await invalidate(service, by="b", **TARGETS[name])
    assert await found(service, tenant="a")


async def test_the_answers_of_a_model_are_those_of_every_tenant(opened):
    service = await opened()
    await store(service, tenant="a")
    await invalidate(service, by="b", **TARGETS["model"])
    assert not await found(service, tenant="a")


async def test_what_was_invalidated_stays_so_over_a_restart(opened, tmp_path):
    first = await opened(disk_path=tmp_path / "answers")
    await store(first, tags=["t"])
    await store(first, key=OTHER_KEY)
    sequence = await invalidate(first, tag="t")
    await first._tiers.close()
    second = await opened(disk_path=tmp_path / "answers")
    assert not await found(second)
    assert await found(second, key=OTHER_KEY)
    assert await invalidate(second, tag="u") == sequence + 1


async def test_an_answer_invalidated_while_it_was_generated_is_not_kept(opened, tmp_path):
    service = await opened(disk_path=tmp_path / "answers")
    began = (await lookup(service)).sequence
    await invalidate(service, tag="t")
    await store(service, "stale", tags=["t"], as_of=began)
    assert not await found(service)
    await store(service, "unaffected", as_of=began)
    assert await found(service)


async def test_a_refreshed_answer_replaces_the_one_that_gateways_hold(opened):
    service = await opened()
    await store(service, "old")
    before = service._invalidations.sequence
    kept = await store(service, "new", refresh=True)
    assert kept.as_of == before + 1
    assert (await lookup(service)).found.answer == answer("new")
    assert service._invalidations.marks.since(before) == [
        (key_label(stored_key("default", KEY)), before + 1)
    ]


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ({}, "target"),
        ({"tenant": False}, "target"),
        ({"key": b"short"}, "key"),
        ({"tag": ""}, "tag[0]"),
        ({"tag": "x" * 65}, "tag[0]"),
        ({"model": {"version": "v"}}, "model.model"),
    ],
)
async def test_an_invalidation_that_names_nothing_or_wrongly_is_refused(opened, target, field):
    service = await opened()
    with pytest.raises(RouterError) as refused:
        await invalidate(service, **target)
    assert refused.value.violations[0].field == field


@pytest.mark.parametrize("tags", [["x" * 65], [""], [str(number) for number in range(17)]])
async def test_tags_out_of_bounds_are_refused(opened, tags):
    service = await opened()
    with pytest.raises(RouterError) as refused:
        await store(service, tags=tags)
    assert refused.value.reason is Reason.INVALID_ARGUMENT


async def test_tags_take_room_only_while_they_are_invalidated_and_then_a_bounded_one(opened):
    service = await opened(memory_max_bytes=100_000)
    marks = service._invalidations.marks
    for number in range(1_000):
        await store(service, key=number.to_bytes(32, "big"), tags=[f"t{number}"])
    assert len(marks) == 0
    marks._most = 100
    for number in range(1_000):
        await invalidate(service, tag=f"t{number}")
    assert len(marks) == 100
    assert not await found(service, key=(999).to_bytes(32, "big"))
    await store(service, tags=["t1"])
    assert await found(service)


@contextlib.asynccontextmanager
async def watching(service, **request):
    stream = service.WatchInvalidations(pb.WatchInvalidationsRequest(**request), None)
    async with contextlib.aclosing(stream) as messages:
        yield messages


async def test_who_watches_is_told_who_they_are_and_then_everything_as_it_happens(opened):
    service = await opened(default_ttl_seconds=90)
    async with watching(service) as messages:
        first = await anext(messages)
        assert first.session
        assert first.store_id == service._invalidations.store_id
        assert first.default_ttl.seconds == 90
        sequence = await invalidate(service, tag="t")
        news = await anext(messages)
        assert (news.sequence, news.session) == (sequence, "")
        assert [(one.label, one.sequence) for one in news.invalidations] == [
            (tag_label("default", "t"), sequence)
        ]


async def test_with_nothing_new_there_are_signs_of_life(opened, monkeypatch):
    monkeypatch.setattr(broadcasting, "HEARTBEAT_SECONDS", 0.01)
    service = await opened()
    async with watching(service) as messages:
        await anext(messages)
        news = await asyncio.wait_for(anext(messages), 5)
        assert not news.invalidations


async def test_who_comes_back_is_told_what_happened_meanwhile_in_parts(opened, monkeypatch):
    monkeypatch.setattr(broadcasting, "_AT_ONCE", 2)
    service = await opened()
    async with watching(service) as messages:
        known = await anext(messages)
    for number in range(5):
        await invalidate(service, tag=f"{number}")
    back = {"store_id": known.store_id, "after": known.sequence}
    async with watching(service, **back) as messages:
        parts = [await anext(messages) for _ in range(3)]
        assert [len(part.invalidations) for part in parts] == [2, 2, 1]
        assert [part.more for part in parts] == [True, True, False]
    async with watching(service, store_id=b"another", after=parts[-1].sequence) as messages:
        assert len((await anext(messages)).invalidations) == 2


async def test_who_is_too_far_behind_has_to_come_again(opened, monkeypatch):
    monkeypatch.setattr(broadcasting, "_MAX_UNREAD", 2)
    service = await opened()
    async with watching(service) as messages:
        await anext(messages)
        for number in range(3):
            await invalidate(service, tag=f"{number}")
        rest = [news async for news in messages]
        assert len(rest) <= 2
    assert service._invalidations.watching() == 0


async def test_leases_belong_to_sessions_and_end_with_them(opened):
    service = await opened()
    async with watching(service) as one, watching(service) as other:
        first, second = (await anext(one)).session, (await anext(other)).session
        assert (await lookup(service)).lease == pb.LEASE_UNSPECIFIED
        assert (await lookup(service, session="unknown")).lease == pb.LEASE_UNSPECIFIED
        assert (await lookup(service, session=first)).lease == pb.LEASE_GRANTED
        assert (await lookup(service, session=second)).lease == pb.LEASE_HELD
        request = pb.AwaitAnswerRequest(context=who(), key=KEY, session=second)
        waiting = asyncio.create_task(service.AwaitAnswer(request, None))
        await asyncio.sleep(0)
        await one.aclose()
        assert (await waiting).lease == pb.LEASE_GRANTED
        third = asyncio.create_task(service.AwaitAnswer(request, None))
        await asyncio.sleep(0)
        assert (await third).lease == pb.LEASE_GRANTED  # its own: it may go on


async def test_an_answer_stored_while_it_is_looked_up_is_found_by_who_may_then_generate(
    opened, tmp_path
):
    service = await opened(disk_path=tmp_path / "answers")
    async with watching(service) as one, watching(service) as other:
        first, second = (await anext(one)).session, (await anext(other)).session
        await lookup(service, session=first)
        disk, read, go_on = service._tiers._far, service._tiers._far.get, asyncio.Event()

        async def slow(key, serves, **how):
            record = await read(key, serves, **how)
            await go_on.wait()
            return record

        disk.get = slow
        looking = asyncio.create_task(lookup(service, session=second))
        await asyncio.sleep(0.05)
        await store(service, session=first)
        go_on.set()
        assert (await looking).lease == pb.LEASE_HELD
        request = pb.AwaitAnswerRequest(context=who(), key=KEY, session=second)
        assert (await service.AwaitAnswer(request, None)).HasField("found")
        assert len(service._claims._leases) == 0


async def test_a_hit_leaves_no_lease_behind_but_one_that_was_held_before(opened):
    service = await opened()
    async with watching(service) as messages:
        session = (await anext(messages)).session
        await store(service)
        assert (await lookup(service, session=session)).HasField("found")
        assert len(service._claims._leases) == 0
        await lookup(service, key=OTHER_KEY, session=session)
        await store(service, key=OTHER_KEY)
        service._claims._leases.take(OTHER_KEY, session)
        await lookup(service, key=OTHER_KEY, session=session)
        assert service._claims._leases.holds(OTHER_KEY, session)


async def test_the_answer_ends_the_wait(opened):
    service = await opened()
    async with watching(service) as one, watching(service) as other:
        first, second = (await anext(one)).session, (await anext(other)).session
        await lookup(service, session=first)
        request = pb.AwaitAnswerRequest(context=who(), key=KEY, session=second)
        waiting = asyncio.create_task(service.AwaitAnswer(request, None))
        await asyncio.sleep(0)
        await store(service, "Paris", session=first)
        told = await waiting
        assert told.found.answer == answer("Paris")
        assert told.found.level == generation.CACHE_LEVEL_MEMORY


async def test_an_answer_that_is_refused_frees_its_lease(opened):
    service = await opened(max_entry_bytes=1024)
    async with watching(service) as one, watching(service) as other:
        first, second = (await anext(one)).session, (await anext(other)).session
        await lookup(service, session=first)
        with pytest.raises(RouterError):
            await store(service, "x" * 2_000, session=first)
        assert (await lookup(service, session=second)).lease == pb.LEASE_GRANTED
        release = pb.ReleaseLeaseRequest(context=who(), key=KEY, session=second)
        await service.ReleaseLease(release, None)
        assert (await lookup(service, session=first)).lease == pb.LEASE_GRANTED


async def test_statistics_tell_what_gateways_report_while_they_are_connected(opened):
    service = await opened()
    async with watching(service) as messages:
        session = (await anext(messages)).session
        saved = pb.Savings(
            tenant="t", model="m", level=generation.CACHE_LEVEL_GATEWAY, kind=pb.HIT_KIND_EXACT,
            hits=2, prompt_tokens=10, completion_tokens=20, cost=0.5, time={"seconds": 3},
        )  # fmt: skip
        joined = pb.Savings(tenant="t", model="m", kind=pb.HIT_KIND_JOINED, hits=1)
        level = pb.LevelStatistics(level=generation.CACHE_LEVEL_GATEWAY, entries=5, hits=2)
        for _ in range(2):
            await service.ReportHits(
                pb.ReportHitsRequest(session=session, level=level, savings=[saved, joined]), None
            )
        await invalidate(service, tag="t")
        told = await service.GetStatistics(pb.GetStatisticsRequest(), None)
        assert (told.levels[0].entries, told.levels[0].hits) == (5, 2)
        assert (told.gateways, told.invalidations) == (1, 1)
        assert [(row.hits, row.kind, row.cost, row.time.seconds) for row in told.savings] == [
            (4, pb.HIT_KIND_EXACT, 1.0, 6),
            (2, pb.HIT_KIND_JOINED, 0.0, 0),
        ]
    told = await service.GetStatistics(pb.GetStatisticsRequest(), None)
    assert (told.gateways, told.levels[0].entries) == (0, 0)
    assert told.savings
