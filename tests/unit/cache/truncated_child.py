"""A process of its own that opens and reads stores which were cut off: touching what is missing
would end it by a signal. Prints what became of each."""

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

from llmrouter.cache.lmdb_store import LmdbStore, StoreDamagedError
from llmrouter.cache.record import Record

MIB = 1 << 20
KEYS = [bytes([number]) * 32 for number in range(120)]


def record(number):
    """Small and large ones, as pages of trees and runs of pages."""
    return Record(1000.0, 1e10, 0, (b"l" * 16,), 0, b"x" * (number * number % 9000))


def made(path):
    store = LmdbStore(path, 16 * MIB, lambda: 2000.0)
    store.put([(key, record(number)) for number, key in enumerate(KEYS)])
    return store


def answers(store):
    """Read everything; a damaged store is begun anew, as the tier does."""
    found = 0
    for number, key in enumerate(KEYS):
        try:
            kept = store.get(key)
        except StoreDamagedError as error:
            store.set_aside(error)
            kept = store.get(key)
        found += kept == record(number)
    return found


def cut(path, size):
    """Return the answers left of a store cut off at `size`, and whether it works again."""
    target = path.with_name("cut")
    shutil.copytree(path, target)
    os.truncate(target / "data.mdb", size)
    with contextlib.closing(LmdbStore(target, 16 * MIB, lambda: 2000.0)) as store:
        left = answers(store)
        store.put([(KEYS[0], record(7))])
        works = store.get(KEYS[0]) == record(7)
    aside = len(list(path.parent.glob("cut.corrupt-*")))
    for folder in path.parent.glob("cut*"):
        shutil.rmtree(folder)
    return left, aside, works


def thinned(path):
    """A store with free pages at many places, its end among them."""
    store = made(path)
    for key in KEYS[: len(KEYS) // 2]:
        store.remove(key)
    store.close()


def cut_while_open(path, size):
    target = path.with_name("cut")
    with contextlib.closing(made(target)) as store:
        before = answers(store)
        os.truncate(target / "data.mdb", size)
        left = answers(store)
        store.put([(KEYS[0], record(7))])
        works = store.get(KEYS[0]) == record(7)
    aside = len(list(path.parent.glob("cut.corrupt-*")))
    for folder in path.parent.glob("cut*"):
        shutil.rmtree(folder)
    return before, left, aside, works


def main(folder, *sizes):
    path = Path(folder) / "whole"
    made(path).close()
    file = path / "data.mdb"
    size = file.stat().st_size
    at = [int(float(share) * size) for share in sizes]
    thinned(Path(folder) / "thinned")
    thin = (Path(folder) / "thinned/data.mdb").stat().st_size
    told = {
        "thinned": [cut(Path(folder) / "thinned", one) for one in range(thin - 1, 9000, -4096)],
        "size": size,
        "closed": [(one, *cut(path, one)) for one in at],
        "open": [(one, *cut_while_open(path, one)) for one in at[:: max(1, len(at) // 6)]],
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
