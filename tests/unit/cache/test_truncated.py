"""A store that somebody has cut off is set aside, and ends no process; a whole one is kept."""

import json
import os
import subprocess
import sys

import lmdb
from tests.unit.cache import truncated_child
from tests.unit.cache.truncated_child import KEYS, MIB, answers, made

from llmrouter.cache.lmdb_store import LmdbStore

PAGE = 4096


def test_a_store_cut_off_anywhere_is_set_aside_and_the_process_lives(tmp_path):
    shares = [(number * 0.618034) % 1 for number in range(1, 49)]
    done = subprocess.run(
        [sys.executable, truncated_child.__file__, tmp_path, "0", *map(str, shares), "0.99999"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["closed"][0][0] == 0
    for size, left, aside, works in told["closed"]:
        assert (left, aside, works) == (0, 1, True), size
    for size, before, left, aside, works in told["open"]:
        assert (before, left, aside, works) == (len(KEYS), 0, 1, True), size
    # Cut off where nothing but free pages is missing, it is whole.
    assert {tuple(one) for one in told["thinned"]} == {(0, 1, True), (len(KEYS) // 2, 0, True)}


def test_what_is_set_aside_is_named_in_the_log(tmp_path, caplog):
    made(tmp_path / "answers").close()
    os.truncate(tmp_path / "answers/data.mdb", 20 * PAGE)
    LmdbStore(tmp_path / "answers", 16 * MIB).close()
    (aside,) = tmp_path.glob("answers.corrupt-*")
    assert f"set aside as {aside}" in caplog.text
    assert "lacks" in caplog.text


def test_a_whole_store_is_kept_though_pages_were_given_back_at_its_end(tmp_path):
    store = made(tmp_path / "answers")
    store.facts()
    table = store._tables["facts"]
    with store._env.begin(write=True, db=table) as txn:
        for number in range(400):
            txn.put(b"%d" % number, b"x" * 1000)
        for number in range(400):
            txn.delete(b"%d" % number)
    store.close()
    file = tmp_path / "answers/data.mdb"
    with lmdb.open(str(file.parent), readonly=True, lock=False) as env:
        promised = (env.info()["last_pgno"] + 1) * PAGE
    assert file.stat().st_size < promised  # or the test shows nothing
    again = LmdbStore(tmp_path / "answers", 16 * MIB)
    assert answers(again) == len(KEYS)
    again.close()
    assert not list(tmp_path.glob("answers.corrupt-*"))
