"""The disk store keeps answers over a restart, stays within its bound and survives damage."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys

import lmdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.little_room import little_room

from llmrouter.cache.lmdb_store import LmdbStore, StoreDamagedError
from llmrouter.cache.record import Record, RecordError
from llmrouter.common.errors import Reason, RouterError

MIB = 1 << 20


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers"


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def record(clock, payload=b"answer", ttl=100.0):
    return Record(clock.now, clock.now + ttl, 7, (b"l" * 16, b"m" * 16), 0, payload)


def put(store, key, kept):
    store.put([(key, kept)])


def test_an_answer_survives_a_restart_with_its_times(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    kept = record(clock)
    put(store, key(1), kept)
    store.close()
    again = LmdbStore(path, 4 * MIB, clock)
    assert again.get(key(1)) == kept
    assert again.get(key(2)) is None


def test_a_record_lives_until_it_expires_and_not_before_it_was_stored(clock):
    kept = record(clock, ttl=100)
    assert kept.lives(clock.now)
    assert kept.lives(clock.now + 99.9)
    assert not kept.lives(clock.now + 100)
    assert kept.lives(clock.now - 59)  # clocks of machines differ a little
    assert not kept.lives(clock.now - 61)  # nobody knows how old it is


def test_a_newer_answer_replaces_the_older_one_and_leaves_nothing_of_it(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    put(store, key(1), record(clock, b"old", ttl=1))
    clock.now += 0.5
    put(store, key(1), record(clock, b"new", ttl=100))
    clock.now += 5
    store._drop_records(10)  # drops what has expired: the old answer's time must not count
    assert store.evictions == 1, "nothing had expired: it went as the oldest"
    with store._env.begin() as txn:
        names = ("records", "by_expiry", "by_age")
        sizes = [txn.stat(store._tables[name])["entries"] for name in names]
    assert len(set(sizes)) == 1


def test_a_full_store_drops_the_oldest_and_stays_within_its_file(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    for number in range(300):
        clock.now += 1
        put(store, key(number), record(clock, bytes([number % 256]) * 50_000, ttl=10_000))
        assert store.get(key(number)) is not None
    entries, size = store.size()
    assert 20 < entries < 84
    assert size <= 4 * MIB
    assert (path / "data.mdb").stat().st_size <= 4 * MIB
    assert store.evictions == 300 - entries
    assert store.get(key(0)) is None


def test_expired_answers_leave_before_living_ones(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    put(store, key(1000), record(clock, b"x" * 50_000, ttl=1_000_000))  # the oldest, still alive
    for number in range(55):
        put(store, key(number), record(clock, b"y" * 50_000, ttl=10))
    clock.now += 20
    for number in range(55, 70):
        put(store, key(number), record(clock, b"z" * 50_000, ttl=1000))
    assert store.get(key(1000)) is not None
    assert store.evictions == 0


def test_records_given_together_are_all_there_after_a_restart(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    store.put([(key(number), record(clock, b"%d" % number)) for number in range(100)])
    store.close()
    again = LmdbStore(path, 4 * MIB, clock)
    assert all(again.get(key(number)).payload == b"%d" % number for number in range(100))


def test_answers_of_very_different_sizes_never_fill_it_for_good(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    for number in range(200):
        clock.now += 1
        size = (number * 7919) % MIB if number % 5 == 0 else number * 10
        put(store, key(number), record(clock, b"x" * size, ttl=10_000))
        assert store.get(key(number)) is not None


@pytest.mark.parametrize("damage", ["garbage", "truncated", "short"])
def test_a_damaged_store_is_set_aside_named_and_begun_anew(path, clock, caplog, damage):
    (path.parent / "answers.corrupt-1").mkdir()  # of an earlier time: one is kept
    store = LmdbStore(path, 4 * MIB, clock)
    for number in range(50):
        put(store, key(number), record(clock, b"x" * 5_000))
    store.close()
    data = path / "data.mdb"
    content = data.read_bytes()
    broken = {
        "garbage": b"\xa5" * len(content),
        "truncated": content[: len(content) // 2],
        "short": content[:100],
    }[damage]
    data.write_bytes(broken)
    with caplog.at_level(logging.ERROR):
        store = LmdbStore(path, 4 * MIB, clock)
    assert store.get(key(1)) is None
    put(store, key(1), record(clock))
    assert store.get(key(1)) == record(clock)
    (aside,) = path.parent.glob("answers.corrupt-*")
    assert (aside / "data.mdb").read_bytes() == broken
    assert str(aside) in caplog.text


def test_damage_found_while_reading_sets_the_store_aside_with_what_it_knew_kept(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    known = store.facts()
    store.add_dictionary(b"words")
    store.mark([(b"l" * 16, known.sequence + 1)], [], known.floor)
    put(store, key(1), record(clock))
    begin = store._env.begin

    class Env:
        def begin(self, **options):
            raise lmdb.CorruptedError("page 7")

        def close(self):
            begin.__self__.close()

    store._env = Env()
    with pytest.raises(StoreDamagedError, match="page 7"):
        store.get(key(1))
    store.set_aside(lmdb.CorruptedError("page 7"))
    assert len(list(path.parent.glob("answers.corrupt-*"))) == 1
    assert store.get(key(1)) is None
    put(store, key(2), record(clock))
    facts = store.facts()
    assert (facts.id, facts.dictionaries) == (known.id, (b"words",))
    assert facts.floor == known.sequence + 1  # all that was invalidated stays so


DAMAGE = (lmdb.CorruptedError, lmdb.BadTxnError, lmdb.PageFullError, lmdb.PageNotFoundError)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_found_while_writing_begins_anew_and_writes(path, clock, damage):
    store = LmdbStore(path, 4 * MIB, clock)
    put(store, key(1), record(clock))
    write, tried = store._write, []

    def failing(packed):
        tried.append(1)
        if len(tried) == 1:
            raise damage("page 7")
        write(packed)

    store._write = failing
    put(store, key(2), record(clock))
    assert store.get(key(1)) is None
    assert store.get(key(2)) == record(clock)


def test_an_answer_with_a_flipped_bit_is_told_and_can_be_removed(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    put(store, key(1), record(clock))
    packed = bytearray(record(clock).pack(key(1)))
    packed[-1] ^= 1
    with store._env.begin(write=True) as txn:
        txn.put(key(1), bytes(packed), db=store._tables["records"])
    with pytest.raises(RecordError, match="checksum"):
        store.get(key(1))
    store.remove(key(1))
    assert store.get(key(1)) is None
    with store._env.begin() as txn:
        assert [txn.stat(table)["entries"] for table in store._tables.values()] == [0] * 4


def test_facts_survive_a_restart_in_order_and_another_store_has_its_own(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    first = store.facts()
    assert (first.sequence, first.marks) == (int(clock.now * 1e6), ())
    at = first.sequence
    store.mark([(b"b" * 16, at + 1)], [], first.floor)
    store.mark([(b"a" * 16, at + 2)], [], first.floor)
    store.mark([(b"c" * 16, at + 3)], [b"b" * 16], at + 1)
    store.add_dictionary(b"one")
    store.add_dictionary(b"two")
    store.close()
    clock.now += 1
    again = LmdbStore(path, 4 * MIB, clock).facts()
    assert again.id == first.id
    assert again.marks == ((b"a" * 16, at + 2), (b"c" * 16, at + 3))
    assert (again.floor, again.sequence) == (at + 1, at + 3)
    assert again.dictionaries == (b"one", b"two")
    other = LmdbStore(path.with_name("other"), 4 * MIB, clock).facts()
    assert other.id != first.id
    assert other.sequence > again.sequence


@given(
    st.binary(max_size=40), st.floats(0, 1e10), st.floats(0, 1e10), st.integers(0, 2**64 - 1),
    st.lists(st.binary(min_size=16, max_size=16), max_size=20), st.integers(0, 1), st.binary(),
)  # fmt: skip
def test_a_record_comes_back_as_it_was_packed(name, stored, expires, as_of, labels, codec, payload):
    made = Record(stored, expires, as_of, tuple(labels), codec, payload)
    packed = made.pack(name)
    assert Record.unpack(name, packed) == made
    assert Record.times(packed) == (stored, expires)


@given(st.binary(max_size=200), st.data())
def test_a_record_with_any_byte_changed_or_cut_is_refused(payload, data):
    packed = Record(1.0, 2.0, 3, (b"l" * 16,), 0, payload).pack(b"key")
    at = data.draw(st.integers(0, len(packed) - 1))
    changed = packed[:at] + bytes([packed[at] ^ data.draw(st.integers(1, 255))]) + packed[at + 1 :]
    for damaged in (changed, packed[:at], packed + b"x"):
        with pytest.raises(RecordError):
            Record.unpack(b"key", damaged)


def test_a_record_does_not_open_under_another_key(clock):
    packed = record(clock).pack(key(1))
    assert Record.unpack(key(1), packed) == record(clock)
    with pytest.raises(RecordError):
        Record.unpack(key(2), packed)
    with pytest.raises(RecordError):
        Record.unpack(key(1), packed[:10])


def test_a_disk_without_space_fails_the_store_and_keeps_what_was_there(path, clock):
    store = LmdbStore(path, 16 * MIB, clock)
    put(store, key(1), record(clock))
    size = (path / "data.mdb").stat().st_size
    with pytest.raises(RouterError) as caught, little_room(size):
        put(store, key(2), record(clock, b"x" * MIB))
    assert caught.value.reason is Reason.STORE_FAILED
    assert str(path) in caught.value.message
    assert store.get(key(1)) == record(clock)
    put(store, key(2), record(clock, b"x" * MIB))
    assert store.get(key(2)) is not None


def test_a_disk_without_any_space_fails_the_opening_and_not_the_process(path, clock, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RouterError, match="failed: No space left on device") as caught:
        LmdbStore(path, 4 * MIB, clock)
    assert caught.value.reason is Reason.STORE_FAILED
    monkeypatch.undo()
    LmdbStore(path, 4 * MIB, clock).close()


def test_no_two_services_use_one_folder(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    code = (
        "import sys, pathlib; from llmrouter.cache.lmdb_store import LmdbStore;"
        "LmdbStore(pathlib.Path(sys.argv[1]), 1 << 22)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    told = (
        f"the answer store {path} failed: another suite or cache service runs on this data folder"
    )
    assert told in other.stderr
    store.close()
    LmdbStore(path, 4 * MIB, clock).close()


def test_a_folder_that_cannot_be_used_is_an_error_that_names_it(tmp_path, clock):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(RouterError) as caught:
        LmdbStore(file / "answers", 4 * MIB, clock)
    assert caught.value.reason is Reason.STORE_FAILED
    assert caught.value.message == f"the answer store {file}/answers failed: Not a directory"
