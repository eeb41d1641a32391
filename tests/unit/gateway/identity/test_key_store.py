"""Keys on disk: private, shared between processes, and followed by the gateway."""

from __future__ import annotations

import stat
from dataclasses import replace
from multiprocessing.pool import ThreadPool

import pytest
from tests.support.waiting import until

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.identity.api_keys import ApiKey, make, revoke
from llmrouter.gateway.identity.key_book import KeyBook
from llmrouter.gateway.identity.key_store import KeyStore
from llmrouter.gateway.identity.principal import Scope

WANTED = ApiKey("", "ci", b"", 5.0, "acme", "ann", frozenset({Scope.EMBED}), frozenset({"a"}), 9.0)


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "deep" / "keys.sqlite")


def created(store, **changes):
    key, _ = make(store.secret(), replace(WANTED, **changes))
    store.put(key)
    return key


def test_before_the_first_key_there_is_nothing_and_nothing_is_made(store, tmp_path):
    assert store.load() == ({}, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_key_comes_back_as_it_was(store):
    key = revoke(created(store), 7.0)
    store.put(key)
    keys, secret = store.load()
    assert keys == {key.id: key}
    assert len(secret) == 64


def test_keys_and_secret_are_their_owners_alone(store, tmp_path):
    created(store)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "deep").iterdir()}
    assert modes == {"keys.sqlite": 0o600, "keys.sqlite.secret": 0o600}


def test_processes_that_begin_at_once_share_one_secret(tmp_path):
    stores = [KeyStore(tmp_path / "keys.sqlite") for _ in range(8)]
    with ThreadPool(8) as pool:
        assert len(set(pool.map(lambda one: one.secret(), stores))) == 1
        pool.map(created, stores)
    assert len(stores[0].load()[0]) == 8


def test_a_secret_may_be_a_file_of_ones_own_but_not_a_short_one(tmp_path):
    file = tmp_path / "given"
    file.write_text("0123456789abcdef\n")
    assert KeyStore(tmp_path / "keys", file).secret() == b"0123456789abcdef"
    file.write_text("short\n")
    with pytest.raises(RouterError, match="fewer than 16 bytes"):
        KeyStore(tmp_path / "keys", file).secret()
    with pytest.raises(RouterError, match="No such file"):
        KeyStore(tmp_path / "keys", tmp_path / "none").secret()


def test_keys_are_read_where_nothing_can_be_written(store, tmp_path):
    key = created(store)
    folder = tmp_path / "deep"
    for path in (*folder.iterdir(), folder):
        path.chmod(0o500)
    before = sorted((one.name, one.stat().st_mtime_ns) for one in folder.iterdir())
    assert set(store.load()[0]) == {key.id}
    assert sorted((one.name, one.stat().st_mtime_ns) for one in folder.iterdir()) == before


@pytest.mark.parametrize("damage", [b"no database at all, but long enough to be one" * 9, b"{}"])
def test_a_damaged_store_is_told_by_its_name(store, damage, tmp_path):
    created(store)
    (tmp_path / "deep" / "keys.sqlite").write_bytes(damage)
    with pytest.raises(RouterError, match=r"keys\.sqlite cannot be used") as refused:
        store.load()
    assert refused.value.reason is Reason.STORE_FAILED


@pytest.fixture
async def book(store):
    made = KeyBook(store, interval=0.01)
    yield made
    await made.close()
    await made.close()


async def test_a_running_gateway_sees_keys_come_and_be_revoked(store, book):
    await book.start()
    key = created(store)
    await until(lambda: book.find(key.id) == key)
    assert len(book.secret) == 64
    store.put(revoke(key, 7.0))
    await until(lambda: book.find(key.id).revoked == 7.0)


async def test_keys_that_are_known_outlive_a_broken_store(store, book, tmp_path, caplog):
    key = created(store)
    await book.start()
    whole = (tmp_path / "deep" / "keys.sqlite").read_bytes()
    (tmp_path / "deep" / "keys.sqlite").write_bytes(b"broken" * 99)
    await until(lambda: caplog.records)
    assert book.find(key.id) == key
    (tmp_path / "deep" / "keys.sqlite").write_bytes(whole)
    other = created(store, name="other")
    await until(lambda: book.find(other.id))
    assert len(caplog.records) == 1, "told once"


async def test_without_any_key_known_a_broken_store_is_told_to_who_brings_one(
    store, book, tmp_path
):
    created(store)
    (tmp_path / "deep" / "keys.sqlite").write_bytes(b"broken" * 99)
    await book.start()
    with pytest.raises(RouterError) as refused:
        book.find("x")
    assert refused.value.reason is Reason.STORE_FAILED
