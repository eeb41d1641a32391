"""Cache services that share a Redis or Valkey: what one of them knows, all of them know."""

import asyncio

import pytest
from tests.integration.cache.sharing import MEMORY, SHARED, found, session_at, sharing, waiting
from tests.support.redis_server import needs_server, running
from tests.support.waiting import until
from tests.unit.cache.serving import KEY, Clock, lookup, store, who

from llmrouter.cache.settings import CacheSettings
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.invalidation import model_label
from llmrouter.v1 import cache_pb2 as pb

pytestmark = needs_server


async def test_what_one_service_keeps_another_finds_and_then_holds_in_memory(two):
    one, other = two
    assert await found(one) is None
    await store(one)
    assert [await found(one), await found(other), await found(other)] == [MEMORY, SHARED, MEMORY]
    assert await found(other, tenant="acme") is None


async def test_an_answer_outlives_the_services(server):
    async with sharing(server.address) as one:
        await store(one, "Paris")
    async with sharing(server.address) as later:
        assert (await lookup(later)).found.answer.choices[0].text == "Paris"


async def test_the_server_forgets_what_has_expired_and_is_not_worth_keeping(server):
    async with sharing(server.address) as one:
        await store(one, ttl=60)
    [name] = server.do("KEYS", "llmrouter:*:answer")
    left = server.do("PTTL", name)
    kept = 60_000 + CacheSettings().stale_seconds * 1000
    assert kept - 60_000 < left <= kept


@pytest.mark.parametrize(
    "target",
    [{"tag": "t"}, {"key": KEY}, {"model": {"model": "m", "version": "v"}}, {"tenant": True}],
    ids=["tag", "key", "version", "tenant"],
)
async def test_what_is_invalidated_at_one_service_is_served_by_none(two, target):
    one, other = two
    await store(one, tags=("t",))
    assert await found(other) is SHARED
    told = await one.Invalidate(pb.InvalidateRequest(context=who(), **target), None)
    assert await found(one) is None

    async def heard():
        return (await lookup(other)).sequence == told.sequence

    await until(heard)
    assert await found(other) is None
    await store(other, "new", tags=("t",))
    assert await found(one) is SHARED


async def test_an_answer_begun_before_an_invalidation_elsewhere_is_not_kept(two):
    one, other = two
    as_of = (await lookup(other)).sequence
    await one.Invalidate(pb.InvalidateRequest(context=who(), tenant=True), None)
    await store(other, as_of=as_of)
    assert await found(one) is None


async def test_gateways_of_every_service_are_told_in_the_same_order(two):
    one, other = two

    async def heard(service, most):
        marks = []
        async for news in service.WatchInvalidations(pb.WatchInvalidationsRequest(), None):
            marks += [(mark.label, mark.sequence) for mark in news.invalidations]
            if len(marks) >= most:
                break
        return marks

    watching = [asyncio.create_task(heard(service, 40)) for service in two]
    await asyncio.sleep(0)
    marking = [
        service.Invalidate(pb.InvalidateRequest(context=who(), tag=f"{name}{number}"), None)
        for number in range(20)
        for name, service in (("a", one), ("b", other))
    ]
    numbers = [told.sequence for told in await asyncio.gather(*marking)]
    first, second = await asyncio.gather(*watching)
    assert first == second
    assert [sequence for _, sequence in first] == sorted(numbers)


async def test_only_one_service_may_generate_and_the_others_find_its_answer(two):
    one, other = two
    async with session_at(one) as here, session_at(other) as there:
        assert (await lookup(one, session=here)).lease == pb.LEASE_GRANTED
        assert (await lookup(other, session=there)).lease == pb.LEASE_HELD
        tasks = [waiting(other, there) for _ in range(3)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)
        await store(one, session=here)
        assert {(await task).found.answer.choices[0].text for task in tasks} == {"Paris"}
        assert len(other._claims._leases) == 0


async def test_a_lease_that_is_given_back_goes_to_who_waits_elsewhere(two):
    one, other = two
    async with session_at(one) as here, session_at(other) as there:
        assert (await lookup(one, session=here)).lease == pb.LEASE_GRANTED
        task = waiting(other, there)
        await asyncio.sleep(0.1)
        await one.ReleaseLease(pb.ReleaseLeaseRequest(context=who(), key=KEY, session=here), None)
        assert (await task).lease == pb.LEASE_GRANTED


async def test_the_leases_of_a_service_that_is_gone_end_by_themselves(server):
    clock = Clock()
    async with (
        sharing(server.address, clock) as other,
        session_at(other) as there,
        sharing(server.address, clock) as one,
        session_at(one) as here,
    ):
        assert (await lookup(one, session=here)).lease == pb.LEASE_GRANTED
        await one.made.following.close()  # killed: nobody renews it, nobody gives it back
        one._claims._ours.clear()
        assert (await waiting(other, there)).lease == pb.LEASE_GRANTED


async def test_a_lease_lasts_while_its_holder_generates(two):
    one, other = two
    async with session_at(one) as here, session_at(other) as there:
        await lookup(one, session=here)
        name = one.made.tiers._far._name(one.made.claims._ours.copy().pop(), b"lease")

        async def renewed():
            left = await one.made.tiers._far._link.ask(lambda client: client.pttl(name))
            seen.append(left)
            return len(seen) > 1 and seen[-1] > min(seen)

        seen = []
        await until(renewed)
        assert (await lookup(other, session=there)).lease == pb.LEASE_HELD


async def test_an_emptied_server_is_another_store_and_nothing_held_is_served(server, two):
    one, other = two
    await store(one)
    assert await found(other) is SHARED
    known = one.made.invalidations.store_id
    async with session_at(one):
        server.do("FLUSHALL")

        async def renewed():
            ids = {service.made.invalidations.store_id for service in two}
            return len(ids) == 1 and known not in ids

        await until(renewed)
        assert [await found(one), await found(other)] == [None, None]
        assert one.made.invalidations.watching() == 0  # gateways come again and learn it
    await store(other)
    assert await found(one) is SHARED


async def test_marks_that_were_lost_make_every_answer_before_them_unusable(server, two):
    one, _ = two
    await store(one, tags=("t",))
    await store(one, "other", key=bytes(32))
    await one.Invalidate(pb.InvalidateRequest(context=who(), tag="t"), None)
    server.do("DEL", "{llmrouter}:marks")

    async def forgotten():
        return await found(one, key=bytes(32)) is None

    await until(forgotten)
    async with sharing(server.address) as later:
        assert await found(later) is None


async def test_a_sequence_that_goes_back_makes_it_another_store(server, two):
    one, _ = two
    await store(one)
    told = await one.Invalidate(pb.InvalidateRequest(context=who(), tag="t"), None)
    known = one.made.invalidations.store_id
    server.do("HSET", "{llmrouter}:facts", "sequence", told.sequence - 1)

    async def renewed():
        return one.made.invalidations.store_id != known

    await until(renewed)
    assert await found(one) is None


async def test_a_record_that_was_tampered_with_is_a_miss_and_forgotten(server, two):
    one, other = two
    await store(one)
    [name] = server.do("KEYS", "llmrouter:*:answer")
    server.do("SETRANGE", name, 90, "x")
    assert await found(other) is None
    assert server.do("EXISTS", name) == 0


async def test_a_full_server_refuses_answers_and_still_serves_those_it_has(tmp_path):
    async with running(tmp_path) as server, sharing(server.address) as one:
        await store(one)
        server.do("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(RouterError, match=r"refused.*maxmemory") as refused:
            await store(one, key=bytes(32))
        assert refused.value.reason is Reason.STORE_FAILED
        async with sharing(server.address) as later:
            assert await found(later) is SHARED


async def test_a_learned_dictionary_is_every_services(server, two, monkeypatch):
    monkeypatch.setattr("llmrouter.cache.compression._SAMPLES", 64)
    one, other = two
    text = "The capital of France is Paris, and the capital of {0} is {1}. " * 4
    for number in range(64):
        await store(one, text.format(number, number * 7), key=number.to_bytes(32))

    async def learned():
        return all(service.made.tiers._packer.newest for service in two)

    await until(learned)
    await store(one, text.format("Spain", "Madrid"))
    assert "Madrid" in (await lookup(other)).found.answer.choices[0].text


async def test_after_the_server_was_emptied_services_read_each_other(server, two, monkeypatch):
    monkeypatch.setattr("llmrouter.cache.compression._SAMPLES", 64)
    one, other = two
    text = "The capital of France is Paris, and the capital of {0} is {1}. " * 4
    for number in range(64):
        await store(one, text.format(number, number * 7), key=number.to_bytes(32))
    packers = [service.made.tiers._packer for service in two]

    async def learned():
        return all(packer.newest for packer in packers)

    await until(learned)
    server.do("FLUSHALL")

    async def offered():
        return server.do("EXISTS", "{llmrouter}:dictionary") == 1

    await until(offered)
    async with sharing(server.address) as later:
        last = later.made.tiers._packer

        async def all_learned():
            return last.newest == packers[0].newest == packers[1].newest

        await until(all_learned)
        for writer, key in ((one, bytes(32)), (later, b"k" * 32)):
            await store(writer, text.format("Spain", "Madrid"), key=key)
            for reader in (one, other, later):
                answer = (await lookup(reader, key=key)).found.answer
                assert "Madrid" in answer.choices[0].text


async def test_leases_are_renewed_many_at_once(two):
    one, _ = two
    far, claims = one.made.tiers._far, one.made.claims
    keys = [number.to_bytes(32) for number in range(600)]
    for key in keys:
        assert claims.lead(key, "session")
        await claims.take(key)
    sent, ask = [], far._link.ask

    async def counted(call):
        sent.append(call)
        return await ask(call)

    far._link.ask = counted
    await claims.renew()
    assert len([call for call in sent if "_renew" in call.__qualname__]) == 3
    names = [far._name(key, b"lease") for key in keys]
    left = [await ask(lambda client, name=name: client.pttl(name)) for name in names]
    assert min(left) > 0


async def test_a_version_that_was_replaced_while_no_service_ran_is_missed_by_the_next(server):
    def known(version):
        return pb.TellVersionsRequest(versions=[pb.ModelAnswers(model="m", version=version)])

    async with sharing(server.address) as one, sharing(server.address) as other:
        await store(one)
        await one.TellVersions(known("v"), None)
        assert not (await other.TellVersions(known("v"), None)).replaced
    async with sharing(server.address) as later, sharing(server.address) as beside:
        assert await found(beside) is SHARED
        assert (await later.TellVersions(known("w"), None)).replaced == known("v").versions

        async def gone():
            return await found(beside) is None

        await until(gone)


async def test_many_versions_are_replaced_in_one_command_and_a_damaged_row_is_passed_over(two):
    def known(version):
        names = [f"m{number}" for number in range(500)]
        told = [pb.ModelAnswers(model=name, version=version) for name in names]
        return pb.TellVersionsRequest(versions=told)

    one, other = two
    store, noted = one.made.tiers._far, []
    await one.TellVersions(known("v"), None)
    await store._link.ask(lambda client: client.hset(store._fact(b"versions"), "m0", b"{"))
    invalidate = store.invalidate

    async def counted(labels):
        noted.append(len(labels))
        return await invalidate(labels)

    store.invalidate = counted
    before = one._invalidations.sequence
    assert len((await one.TellVersions(known("w"), None)).replaced) == 500
    assert noted == [500]
    await other._invalidations.look()
    label = model_label("m499", "v")
    assert other._invalidations.marks.since(before)[-1][1] == before + 500
    assert not other._invalidations.living([label], before)
