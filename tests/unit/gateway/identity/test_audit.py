"""The audit log: whole lines, bounded files, and nobody waits for it."""

from __future__ import annotations

import json
import stat
import threading
from multiprocessing.pool import ThreadPool

import pytest

from llmrouter.gateway.identity import audit
from llmrouter.gateway.identity.audit import AuditFile, AuditTrail


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "audit.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_the_time_the_act_and_the_facts(path):
    AuditFile(path, 1 << 20).write("key.created", {"by": "ann", "note": "zwölf\n", "user": ""})
    (told,) = lines(path)
    assert told.pop("time").endswith("+00:00")
    assert told == {"act": "key.created", "by": "ann", "note": "zwölf\n"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_fact_is_cut_and_no_text_breaks_a_line(path):
    AuditFile(path, 1 << 20).write("refused", {"model": "x" * 9_999, "peer": "\ud800"})
    (told,) = lines(path)
    assert len(told["model"]) == 512


def test_the_files_stay_within_their_bound(path):
    file = AuditFile(path, 4_000)
    for number in range(200):
        file.write("refused", {"number": number})
    old = path.with_name("audit.jsonl.1")
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, old.name]
    assert path.stat().st_size + old.stat().st_size <= 4_000
    kept = [int(line["number"]) for line in lines(old) + lines(path)]
    assert kept == list(range(200 - len(kept), 200)), "the newest, in order"


def test_several_writers_lose_nothing_and_tear_no_line(path):
    files = [AuditFile(path, 1 << 20) for _ in range(8)]
    with ThreadPool(8) as pool:
        pool.map(lambda file: [file.write("a", {"n": n}) for n in range(50)], files)
    assert len(lines(path)) == 400


def test_writers_that_begin_a_new_file_at_once_tear_no_line(path):
    files = [AuditFile(path, 8_000) for _ in range(8)]
    with ThreadPool(8) as pool:
        pool.map(lambda file: [file.write("a", {"n": n}) for n in range(50)], files)
    for one in path.parent.iterdir():
        assert all(line["act"] == "a" for line in lines(one))
        assert one.stat().st_size <= 4_000


async def test_what_finds_no_room_is_counted_and_told(path, monkeypatch):
    monkeypatch.setattr(audit, "_MAX_WAITING", 2)
    gate, file = threading.Event(), AuditFile(path, 1 << 20)
    write = file.write
    monkeypatch.setattr(file, "write", lambda *given: (gate.wait(30), write(*given)))
    trail = AuditTrail(file)
    for number in range(5):
        trail.tell("refused", number=number)
    gate.set()
    await trail.close()
    trail.tell("refused", number="late")
    assert [line["number"] for line in lines(path)] == ["0", "1"]
    again = AuditTrail(AuditFile(path, 1 << 20))
    again._lost = 3
    again.tell("refused", number=6)
    await again.close()
    assert lines(path)[-1]["lost_before"] == "3"


async def test_a_log_that_cannot_be_written_is_told_once_and_fails_nobody(tmp_path, caplog):
    (tmp_path / "audit.jsonl").mkdir()
    trail = AuditTrail(AuditFile(tmp_path / "audit.jsonl", 1 << 20))
    trail.tell("refused")
    trail.tell("refused")
    await trail.close()
    assert len(caplog.records) == 1
