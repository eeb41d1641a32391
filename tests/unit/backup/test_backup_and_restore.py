"""The commands `backup` and `restore` over real stores, some of them written to meanwhile."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from functools import partial

import pytest
from tests.unit.cli.driving import COMMAND, lines, run

from llmrouter.backup.parts import parts_of
from llmrouter.cache.lmdb_store import LmdbStore
from llmrouter.cache.record import Record
from llmrouter.common.sqlite_file import SqliteFile
from llmrouter.suite import SuiteSettings

MIB = 1 << 20
DATABASES = ("limits", "selector", "selector-decisions", "keys")
SCHEMA = "CREATE TABLE IF NOT EXISTS pairs (id INTEGER PRIMARY KEY, twin INTEGER NOT NULL);"


def insert(rows, database):
    database.executemany("INSERT INTO pairs VALUES (?, ?)", rows)


def key(number):
    return number.to_bytes(32, "big")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data directory, `llmrouter` below the one that the variable names."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "data" / "llmrouter"
    folder.mkdir(parents=True)
    return folder


def fill(data):
    """Leave something of every part."""
    ledger = SqliteFile(data / "ledger.sqlite", SCHEMA)
    ledger.run(lambda database: database.execute("INSERT INTO pairs VALUES (1, 1)"))
    ledger.close()
    for name in DATABASES:
        with closing(sqlite3.connect(data / f"{name}.sqlite")) as database, database:
            database.execute("CREATE TABLE told (text TEXT)")
            database.execute("INSERT INTO told VALUES (?)", (name,))
    (data / "keys.sqlite.secret").write_text("a secret of the keys")
    (data / "audit.jsonl").write_text('{"act": "tried"}\n')
    (data / "models").mkdir()
    (data / "models" / ".aliases.json").write_text('{"m": {"stable": "1"}}')
    store = LmdbStore(data / "answers", 4 * MIB)
    store.put([(key(1), answer(b"one"))])
    store.close()
    index = data / "answers-similar" / "questions"
    LmdbStore(index, 4 * MIB).close()
    (data / "answers-similar" / "00.usearch").write_bytes(b"a graph that is made anew")


def answer(payload):
    now = time.time()
    return Record(now, now + 1e6, 7, (b"l" * 16, b"m" * 16), 0, payload)


def kept_answer(data, number=1):
    store = LmdbStore(data / "answers", 4 * MIB)
    try:
        found = store.get(key(number))
        return None if found is None else found.payload
    finally:
        store.close()


def told(path):
    with closing(sqlite3.connect(path)) as database:
        return [text for (text,) in database.execute("SELECT text FROM told")]


ALL = [
    "keys",
    "keys-secret",
    "limits",
    "ledger",
    "audit",
    "selector",
    "decisions",
    "aliases",
    "answers",
    "questions",
]


def test_all_that_is_kept_comes_back_on_a_machine_that_had_nothing(data, tmp_path, monkeypatch):
    fill(data)
    archive = tmp_path / "b.tar"
    done = run("backup", str(archive), "--json")
    assert done.exit_code == 0, done.stdout
    written = lines(done)[-1]
    assert [one["name"] for one in written["parts"]] == ALL
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "other"))
    done = run("restore", str(archive), "--json")
    assert done.exit_code == 0, done.stdout
    assert [one["name"] for one in lines(done)[-1]["parts"]] == ALL
    other = tmp_path / "other" / "llmrouter"
    for name in DATABASES:
        assert told(other / f"{name}.sqlite") == [name]
    for same in ("keys.sqlite.secret", "audit.jsonl", "models/.aliases.json"):
        assert (other / same).read_text() == (data / same).read_text()
    assert kept_answer(other) == b"one"
    assert not list(other.glob(".restore-*"))
    assert sorted(one.name for one in (other / "answers-similar").iterdir()) == ["questions"]
    for secret in ("keys.sqlite", "keys.sqlite.secret", "answers/data.mdb"):
        assert (other / secret).stat().st_mode & 0o077 == 0


def test_a_store_that_is_written_to_is_copied_as_it_was_at_one_moment(data, tmp_path):
    path, stop = data / "ledger.sqlite", threading.Event()
    SqliteFile(path, SCHEMA).run(
        lambda database: database.execute("INSERT INTO pairs VALUES (0, 0)")
    )

    def write():
        file, number = SqliteFile(path, SCHEMA), 0
        while not stop.is_set():
            number += 2
            rows = [(number, number + 1), (number + 1, number)]
            file.run(partial(insert, rows))
        file.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            assert run("backup", str(tmp_path / f"{number}.tar")).exit_code == 0
    finally:
        stop.set()
        writer.join()
    counts = set()
    for number in range(5):
        assert run("restore", str(tmp_path / f"{number}.tar"), "--force").exit_code == 0
        with closing(sqlite3.connect(path)) as database:
            torn = "SELECT count(*) FROM pairs WHERE twin NOT IN (SELECT id FROM pairs)"
            assert database.execute(torn).fetchone() == (0,)
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            counts.add(database.execute("SELECT count(*) FROM pairs").fetchone())
    assert len(counts) > 1, "nothing was written meanwhile"


def program(*arguments):
    """Run a command as the program that it is: LMDB is opened once in a process."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def test_answers_are_copied_while_their_store_is_open_and_not_put_back_under_it(data, tmp_path):
    store = LmdbStore(data / "answers", 4 * MIB)
    store.put([(key(1), answer(b"one"))])
    done = program("backup", str(tmp_path / "b.tar"))
    assert done.returncode == 0, done.stderr
    store.put([(key(1), answer(b"two"))])
    done = program("restore", str(tmp_path / "b.tar"), "--force")
    assert done.returncode == 1
    assert "answers" in done.stderr
    assert "in use; stop the service" in " ".join(done.stderr.split())
    assert store.get(key(1)).payload == b"two"
    store.close()
    assert program("restore", str(tmp_path / "b.tar"), "--force").returncode == 0
    assert kept_answer(data) == b"one"


def test_a_database_that_is_open_is_not_replaced(data, tmp_path):
    fill(data)
    assert run("backup", str(tmp_path / "b.tar")).exit_code == 0
    ledger = SqliteFile(data / "ledger.sqlite", SCHEMA)
    ledger.run(lambda database: database.execute("INSERT INTO pairs VALUES (2, 2)"))
    done = run("restore", str(tmp_path / "b.tar"), "--force", "--part", "ledger")
    assert done.exit_code == 1
    assert "in use" in done.stderr
    ledger.close()
    assert run("restore", str(tmp_path / "b.tar"), "--force", "--part", "ledger").exit_code == 0
    with closing(sqlite3.connect(data / "ledger.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM pairs").fetchone() == (1,)


def test_what_is_there_is_replaced_only_by_force_and_its_journal_goes_along(data, tmp_path):
    fill(data)
    assert run("backup", str(tmp_path / "b.tar")).exit_code == 0
    done = run("restore", str(tmp_path / "b.tar"))
    assert done.exit_code == 1
    assert "--force replaces them" in " ".join(done.stderr.split())
    # A journal that a lost database has left would be played into the one that takes its place.
    (data / "limits.sqlite").unlink()
    (data / "limits.sqlite-journal").write_bytes(b"of another life")
    (data / "answers-similar" / "01.usearch").write_bytes(b"of another life")
    assert run("restore", str(tmp_path / "b.tar"), "--force").exit_code == 0
    assert not (data / "limits.sqlite-journal").exists()
    assert told(data / "limits.sqlite") == ["limits"]
    assert not list((data / "answers-similar").glob("*.usearch"))


def test_a_damaged_archive_changes_nothing(data, tmp_path):
    fill(data)
    archive = tmp_path / "b.tar"
    assert run("backup", str(archive)).exit_code == 0
    whole = bytearray(archive.read_bytes())
    at = whole.index(b"a secret of the keys")
    whole[at] ^= 1
    archive.write_bytes(whole)
    (data / "audit.jsonl").write_text("changed\n")
    for arguments in (["--force"], ["--check"]):
        done = run("restore", str(archive), *arguments)
        assert done.exit_code == 1
        assert "'keys-secret' of the archive is not what was written" in " ".join(
            done.stderr.split()
        )
    assert (data / "audit.jsonl").read_text() == "changed\n"
    assert not list(data.glob(".restore-*"))


def test_one_part_is_copied_or_put_back_alone(data, tmp_path):
    fill(data)
    done = run("backup", str(tmp_path / "b.tar"), "--part", "selector", "--json")
    assert [one["name"] for one in lines(done)[-1]["parts"]] == ["selector"]
    done = run("restore", str(tmp_path / "b.tar"), "--part", "ledger", "--force")
    assert done.exit_code == 1
    assert "has no part ledger" in done.stderr
    assert run("backup", str(tmp_path / "c.tar"), "--part", "models").exit_code == 2


def test_an_archive_that_is_there_is_not_overwritten_unasked(data, tmp_path):
    fill(data)
    (tmp_path / "b.tar").write_text("dear to somebody")
    assert "--force" in run("backup", str(tmp_path / "b.tar")).stderr
    assert (tmp_path / "b.tar").read_text() == "dear to somebody"
    assert run("backup", str(tmp_path / "b.tar"), "--force").exit_code == 0
    assert run("restore", str(tmp_path / "b.tar"), "--check").exit_code == 0


def test_a_machine_without_stores_has_nothing_to_copy(data, tmp_path):
    done = run("backup", str(tmp_path / "b.tar"))
    assert done.exit_code == 1
    assert "nothing to copy" in done.stderr
    assert not (tmp_path / "b.tar").exists()


def test_stores_are_found_where_the_settings_put_them(data, tmp_path):
    fill(data)
    (data / "ledger.sqlite").rename(tmp_path / "costs.sqlite")
    config = tmp_path / "llmrouter.yaml"
    config.write_text(json.dumps({"gateway": {"ledger": {"file": str(tmp_path / "costs.sqlite")}}}))
    done = run("backup", str(tmp_path / "b.tar"), "--part", "ledger", "-c", str(config), "--json")
    [part] = lines(done)[-1]["parts"]
    assert part["path"] == str(tmp_path / "costs.sqlite")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["selector.sqlite", "selector-decisions.sqlite"]),
        ({"state_path": "/of/mine/kept.db"}, ["/of/mine/kept.db", "/of/mine/kept-decisions.db"]),
    ],
)
def test_past_choices_lie_beside_the_state_and_are_copied_from_there(data, given, names):
    settings = SuiteSettings.model_validate({"selector": given})
    paths = {part.name: part.path for part in parts_of(settings, data)}
    assert [paths["selector"], paths["decisions"]] == [data / name for name in names]
