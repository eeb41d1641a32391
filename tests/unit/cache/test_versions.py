"""A version that another has replaced answers no more, though it happened while nobody looked."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cache.serving import KEY, late, lookup, store

from llmrouter.cache import lmdb_store, versions
from llmrouter.cache.versions import compared
from llmrouter.common.errors import Reason, RouterError
from llmrouter.v1 import cache_pb2 as pb

QUESTION = b"q" * 32


async def tell(service, selector="", **models):
    known = [pb.ModelAnswers(model=name, version=one) for name in models for one in models[name]]
    request = pb.TellVersionsRequest(versions=known, selector=selector)
    told = await service.TellVersions(request, None)
    return [(one.model, one.version) for one in told.replaced]


async def restarted(opened, service, chosen):
    await service._tiers.close()
    service._tiers._far = None
    return await opened(**chosen)


@pytest.mark.parametrize("level", ["memory", "disk"])
async def test_answers_of_a_version_go_once_another_of_its_model_is_told_without_it(
    opened, tmp_path, level
):
    chosen = {"memory_max_bytes": 0, "disk_path": tmp_path / "a"} if level == "disk" else {}
    service = await opened(**chosen)
    await store(service)
    assert await tell(service, m="v") == []
    assert await tell(service, m="vw") == []
    assert await tell(service, other="w") == []
    assert (await lookup(service)).HasField("found")
    assert await tell(service, m="w") == [("m", "v")]
    assert not (await lookup(service)).HasField("found")
    await store(service)  # it has come back
    assert await tell(service, m="w") == []
    assert (await lookup(service)).HasField("found")


async def test_a_version_that_was_replaced_while_the_cache_was_off_gives_no_stale_answer(
    opened, clock, tmp_path
):
    chosen = {"disk_path": tmp_path / "answers", "stale_seconds": 100}
    service = await opened(**chosen)
    await store(service, ttl=10, question=QUESTION)
    await tell(service, m="v")
    service = await restarted(opened, service, chosen)
    clock.now += 15
    assert (await late(service, question=QUESTION)).HasField("found")
    assert await tell(service, m="w") == [("m", "v")]
    service = await restarted(opened, service, chosen)
    for asked in ({"question": QUESTION}, {"key": KEY}):
        assert not (await late(service, **asked)).HasField("found")


async def test_a_store_that_was_begun_anew_remembers_what_is_told_again(opened, tmp_path):
    chosen = {"disk_path": tmp_path / "answers", "memory_max_bytes": 0}
    service = await opened(**chosen)
    await tell(service, m="v")
    service._tiers._far._store.set_aside(lmdb_store.StoreDamagedError("damaged"))
    await tell(service, m="v")
    await store(service)
    service = await restarted(opened, service, chosen)
    assert await tell(service, m="w") == [("m", "v")]
    assert not (await lookup(service)).HasField("found")


async def test_what_could_not_be_made_durable_is_found_replaced_again(opened, monkeypatch):
    service = await opened()
    await tell(service, m="v")
    failing = RouterError(Reason.STORE_FAILED, "the disk is full")

    async def fail(*_):
        raise failing

    with monkeypatch.context() as patch:
        patch.setattr(service._invalidations, "invalidate_all", fail)
        with pytest.raises(RouterError):
            await tell(service, m="w")
    assert await tell(service, m="w") == [("m", "v")]


async def test_selectors_that_know_different_versions_do_not_drop_each_others_answers(
    opened, clock
):
    service = await opened()
    service._versions._clock = clock
    await store(service)
    for _ in range(3):
        assert await tell(service, selector="one", m="v") == []
        clock.now += 4.5  # so seldom does this service hear of it
        assert await tell(service, selector="other", m="w") == []
        clock.now += 4.5
    assert (await lookup(service)).HasField("found")
    clock.now += 10  # the one is gone
    assert await tell(service, selector="other", m="w") == [("m", "v")]


async def test_a_version_goes_at_once_when_all_selectors_that_knew_it_know_another(opened, clock):
    service = await opened()
    service._versions._clock = clock
    await store(service)
    for who in ("one", "other"):
        await tell(service, selector=who, m="v")
    assert await tell(service, selector="one", m="w") == []
    assert await tell(service, selector="other", m="w") == [("m", "v")]
    assert not (await lookup(service)).HasField("found")


async def test_many_that_are_replaced_at_once_are_one_transaction(opened, tmp_path, monkeypatch):
    service = await opened(disk_path=tmp_path / "answers")
    names = [f"m{number}" for number in range(300)]
    await tell(service, **dict.fromkeys(names, "v"))
    kept, marks = service._tiers._far._store, []
    mark = kept._mark

    def counted(*args):
        marks.append(args[0])
        mark(*args)

    monkeypatch.setattr(kept, "_mark", counted)
    assert len(await tell(service, **dict.fromkeys(names, "w"))) == 300
    assert [len(one) for one in marks] == [300]


async def test_what_a_caller_gave_up_is_done_all_the_same_and_not_begun_anew(opened, monkeypatch):
    service = await opened()
    await store(service)
    await tell(service, m="v")
    keeper, begun, slow = service._versions._keeper, asyncio.Event(), asyncio.Event()
    note = keeper.note_versions

    async def noted(*args):
        begun.set()
        await slow.wait()
        await note(*args)

    monkeypatch.setattr(keeper, "note_versions", noted)
    call = asyncio.ensure_future(tell(service, m="w"))
    await begun.wait()
    call.cancel()
    slow.set()
    assert await tell(service, m="w") == []
    assert await keeper.versions() == {"m": frozenset("w")}
    assert service._invalidations.count == 1


async def test_a_row_of_versions_that_cannot_be_read_keeps_no_other_from_being_told(
    opened, tmp_path
):
    service = await opened(disk_path=tmp_path / "answers")
    await tell(service, m="v", n="v")
    kept = service._tiers._far._store
    for at, damaged in enumerate((b"{", b"7", b'["x", "m", 1]', b"\xff", b"[" * 100_000)):
        with kept._env.begin(write=True, db=kept._tables["facts"]) as txn:
            txn.put(b"versions:%d" % at, damaged)
    assert await tell(service, m="w") == [("m", "v")]
    assert await tell(service, n="w") == [("n", "v")]


async def test_what_this_service_noted_is_missed_though_another_noted_something_else(opened):
    service = await opened()
    await tell(service, m="v")
    await service._versions._keeper.note_versions({"m": frozenset("x")}, ())
    assert await tell(service, m="v") == []  # not each time: they would take turns
    assert await tell(service, m="w") == [("m", "v"), ("m", "x")]


async def test_what_is_told_to_a_service_that_knew_a_part_of_it_is_there_for_all_of_the_store(
    opened,
):
    keeper = versions.MemoryVersions()
    invalidations = (await opened())._invalidations
    one, other, fresh = (versions.VersionBook(invalidations, keeper) for _ in range(3))
    v, x = {"m": frozenset("v")}, {"m": frozenset("x")}
    await one.tell(v, "first")
    await other.tell(x, "second")
    await one.tell(x, "second")
    assert await keeper.versions() == {"m": frozenset("vx")}
    assert await fresh.tell(x, "second") == (("m", "v"),)


async def test_versions_without_names_or_too_many_are_refused(opened):
    service = await opened()
    for refused in ({"m": [""]}, {"": ["v"]}, {"m": ["v" * 257]}):
        with pytest.raises(RouterError, match=r"versions\[0\]"):
            await tell(service, **refused)
    with pytest.raises(RouterError, match="selector: has 65 bytes"):
        await tell(service, selector="s" * 65, m="v")
    with pytest.raises(RouterError, match="4097; at most 4096"):
        await tell(service, m=[str(number) for number in range(4097)])


def test_past_the_bound_those_told_longest_ago_go_with_their_answers():
    before = {name: frozenset("1") for name in "abc"}
    found = compared(before, {"d": frozenset("12"), "b": frozenset("1")}, most=4)
    assert found.forgotten == ("a",)
    assert found.replaced == (("a", "1"),)
    assert found.changed == {"d": frozenset("12")}
    assert versions.MAX_VERSIONS >= 4096


KNOWN = st.dictionaries(st.sampled_from("abcd"), st.frozensets(st.sampled_from("123"), min_size=1))


@given(KNOWN, KNOWN, st.integers(3, 12))
def test_what_is_dropped_is_all_that_was_known_and_is_remembered_no_longer(before, now, most):
    found = compared(before, now, most)
    after = {name: before[name] for name in before if name not in found.forgotten}
    after |= found.changed

    def pairs(known):
        return {(name, one) for name in known for one in known[name]}

    assert set(found.replaced) == pairs(before) - pairs(after)
    assert {name: after[name] for name in now} == now
    assert len(pairs(after)) <= max(most, len(pairs(now)))
