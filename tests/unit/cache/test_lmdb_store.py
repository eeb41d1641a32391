"""The disk store keeps answers over a restart, stays within its bound and survives damage."""

from __future__ import annotations

import logging
import resource
import signal

import lmdb
import pytest

from llmrouter.cache.lmdb_store import LmdbStore
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
    return Record(clock.now, clock.now + ttl, payload)


def test_an_answer_survives_a_restart_with_its_times(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    kept = record(clock)
    store.put(key(1), kept)
    store.close()
    again = LmdbStore(path, 4 * MIB, clock)
    assert again.get(key(1)) == kept
    assert again.get(key(2)) is None
    clock.now += 100
    assert again.get(key(1)) is None


def test_a_newer_answer_replaces_the_older_one_and_leaves_nothing_of_it(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    store.put(key(1), record(clock, b"old", ttl=1))
    clock.now += 0.5
    store.put(key(1), record(clock, b"new", ttl=100))
    clock.now += 5
    store._drop_records(10)  # drops what has expired: the old answer's time must not count
    assert store.size()[0] == 0 or store.get(key(1)).payload == b"new"
    with store._env.begin() as txn:
        sizes = [txn.stat(table)["entries"] for table in store._tables.values()]
    assert len(set(sizes)) == 1


def test_a_full_store_drops_the_oldest_and_stays_within_its_file(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    for number in range(300):
        clock.now += 1
        store.put(key(number), record(clock, bytes([number % 256]) * 50_000, ttl=10_000))
        assert store.get(key(number)) is not None
    entries, size = store.size()
    assert 20 < entries < 84
    assert size <= 4 * MIB
    assert (path / "data.mdb").stat().st_size <= 4 * MIB
    assert store.evictions == 300 - entries
    assert store.get(key(0)) is None


def test_expired_answers_leave_before_living_ones(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    store.put(key(1000), record(clock, b"x" * 50_000, ttl=1_000_000))  # the oldest, still alive
    for number in range(55):
        store.put(key(number), record(clock, b"y" * 50_000, ttl=10))
    clock.now += 20
    for number in range(55, 70):
        store.put(key(number), record(clock, b"z" * 50_000, ttl=1000))
    assert store.get(key(1000)) is not None
    assert store.evictions == 0


def test_answers_of_very_different_sizes_never_fill_it_for_good(path, clock):
    store = LmdbStore(path, 4 * MIB, clock)
    for number in range(200):
        clock.now += 1
        size = (number * 7919) % MIB if number % 5 == 0 else number * 10
        store.put(key(number), record(clock, b"x" * size, ttl=10_000))
        assert store.get(key(number)) is not None


@pytest.mark.parametrize("damage", ["garbage", "truncated", "short"])
def test_a_damaged_store_is_set_aside_named_and_begun_anew(path, clock, caplog, damage):
    (path.parent / "answers.corrupt-1").mkdir()  # of an earlier time: one is kept
    store = LmdbStore(path, 4 * MIB, clock)
    for number in range(50):
        store.put(key(number), record(clock, b"x" * 5_000))
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
    store.put(key(1), record(clock))
    assert store.get(key(1)) == record(clock)
    (aside,) = path.parent.glob("answers.corrupt-*")
    assert (aside / "data.mdb").read_bytes() == broken
    assert str(aside) in caplog.text


def test_damage_found_while_serving_sets_the_store_aside_and_goes_on(path, clock, caplog):
    store = LmdbStore(path, 4 * MIB, clock)
    store.put(key(1), record(clock))
    asked = []

    def get(_key):
        asked.append(1)
        if len(asked) == 1:
            raise lmdb.CorruptedError("page 7")

    store._get = get
    assert store.get(key(1)) is None
    assert len(list(path.parent.glob("answers.corrupt-*"))) == 1
    store.put(key(2), record(clock))


def test_an_answer_with_a_flipped_bit_is_a_miss_and_is_dropped(path, clock, caplog):
    store = LmdbStore(path, 4 * MIB, clock)
    store.put(key(1), record(clock))
    packed = bytearray(record(clock).pack(key(1)))
    packed[-1] ^= 1
    with store._env.begin(write=True) as txn:
        txn.put(key(1), bytes(packed), db=store._tables["records"])
    assert store.get(key(1)) is None
    assert "damaged" in caplog.text
    assert store.size()[0] == 0


def test_a_record_does_not_open_under_another_key(clock):
    packed = record(clock).pack(key(1))
    assert Record.unpack(key(1), packed) == record(clock)
    with pytest.raises(RecordError):
        Record.unpack(key(2), packed)
    with pytest.raises(RecordError):
        Record.unpack(key(1), packed[:10])


def test_a_disk_without_space_fails_the_store_and_keeps_what_was_there(path, clock):
    store = LmdbStore(path, 16 * MIB, clock)
    store.put(key(1), record(clock))
    size = (path / "data.mdb").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(RouterError) as caught:
            store.put(key(2), record(clock, b"x" * MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.reason is Reason.STORE_FAILED
    assert str(path) in caught.value.message
    assert store.get(key(1)) == record(clock)
    store.put(key(2), record(clock, b"x" * MIB))
    assert store.get(key(2)) is not None


def test_a_folder_that_cannot_be_used_is_an_error_that_names_it(tmp_path, clock):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(RouterError) as caught:
        LmdbStore(file / "answers", 4 * MIB, clock)
    assert caught.value.reason is Reason.STORE_FAILED
    assert caught.value.message == f"the answer store {file}/answers failed: Not a directory"
