"""The ledger: a row per request, sums by day, within its bounds, and no request waits for it."""

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.bill import Bill
from llmrouter.common.generation import Usage
from llmrouter.gateway.ledger.entry import DayKey, Entry, Sums, sums_by_day
from llmrouter.gateway.ledger.ledger import Ledger
from llmrouter.gateway.ledger.ledger_file import LedgerFile, read_entries, read_sums
from llmrouter.gateway.ledger.settings import LedgerSettings
from llmrouter.gateway.record import RequestRecord

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
DAY = 86_400
ROW = Entry(
    NOON, "r-1", "acme", "ann", "key 0123456789ab", "chat", "large", "v1", 30, 10, 12, 1_500,
    "miss", cached=False, outcome="OK",
)  # fmt: skip
RECORD = RequestRecord("chat", "r-1", "acme", "OK", 0.5, "large", "v1", "miss", user="ann",
                       credential="key 0123456789ab", usage=Usage(3, 2))  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


def ledger_file(path, **bounds):
    return LedgerFile(path, LedgerSettings(**bounds))


def everything(path):
    return list(read_entries(path, "0001-01-02", "9998-12-30"))


def test_rows_and_sums_come_back_as_they_went(path):
    file = ledger_file(path)
    later = replace(ROW, time=NOON + DAY, cached=True, cost=0, cache="hit")
    file.write([ROW, replace(ROW, outcome="CANCELLED"), later])
    file.write([replace(ROW, cost=500)])
    assert everything(path) == [
        ROW, replace(ROW, outcome="CANCELLED"), replace(ROW, cost=500), later
    ]  # fmt: skip
    assert list(read_entries(path, "2026-11-26", "2026-11-26")) == [later]
    assert list(read_sums(path, "2026-11-25", "2026-11-26")) == [
        (DayKey("2026-11-25", "acme", "ann", "large"), Sums(3, 0, 1, 90, 36, 3_500)),
        (DayKey("2026-11-26", "acme", "ann", "large"), Sums(1, 1, 0, 0, 0, 0)),
    ]
    assert (path.stat().st_mode & 0o777) == 0o600
    file.close()


entries = st.builds(
    Entry,
    time=st.integers(0, 3 * DAY).map(lambda second: NOON + second),
    request_id=st.text(max_size=5), tenant=st.sampled_from("ab"), user=st.sampled_from(["", "u"]),
    credential=st.just("anonymous"), operation=st.just("chat"), model=st.sampled_from("mn"),
    version=st.just("1"), prompt_tokens=st.integers(0, 100), cached_prompt_tokens=st.just(0),
    completion_tokens=st.integers(0, 100), cost=st.integers(0, 10**12), cache=st.just("miss"),
    cached=st.booleans(), outcome=st.sampled_from(["OK", "CANCELLED"]),
)  # fmt: skip


@given(st.lists(st.lists(entries, max_size=8), max_size=6))
def test_the_sums_in_the_file_are_those_of_its_rows_however_they_came(tmp_path_factory, batches):
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    file = ledger_file(path)
    file.write([])
    for batch in batches:
        file.write(batch)
    assert dict(read_sums(path, "2026-01-01", "2027-01-01")) == dict(
        sums_by_day(entry for batch in batches for entry in batch)
    )
    file.close()


def test_old_rows_go_and_their_sums_stay_for_longer(path):
    file = ledger_file(path, keep_days=10, keep_summary_days=100)
    ages = (200, 50, 5)
    file.write([replace(ROW, time=NOON - age * DAY, request_id=str(age)) for age in ages])
    file.prune(NOON)
    assert [entry.request_id for entry in everything(path)] == ["5"]
    assert [key.day for key, _ in read_sums(path, "2000-01-01", "2027-01-01")] == [
        "2026-10-06", "2026-11-20"
    ]  # fmt: skip
    file.close()


def test_a_file_that_grows_too_large_gives_up_its_oldest_rows_and_then_its_oldest_days(path):
    file = ledger_file(path, max_bytes=1 << 20)
    for number in range(10):
        file.write(
            [replace(ROW, time=NOON + number * DAY, request_id="x" * 60) for _ in range(2_000)]
        )
    file.prune(NOON)
    left = everything(path)
    assert 0 < len(left) < 20_000
    assert left[-1].time == NOON + 9 * DAY
    file.write([replace(ROW, user=str(number) * 20) for number in range(40_000)])
    file.prune(NOON)
    days = [key.day for key, _ in read_sums(path, "2000-01-01", "2027-12-31")]
    assert days
    assert everything(path) == []
    file.close()
    assert path.stat().st_size <= 1 << 20


def test_no_rows_are_kept_where_only_sums_are_wanted(path):
    file = ledger_file(path, keep_days=0)
    file.write([ROW])
    assert everything(path) == []
    assert list(read_sums(path, "2026-11-25", "2026-11-25"))
    file.close()


def test_refusals_that_cost_nothing_are_counted_and_leave_no_row(path):
    file = ledger_file(path)
    refused = replace(ROW, outcome="RATE_LIMITED", prompt_tokens=0, completion_tokens=0, cost=0)
    file.write([refused] * 1000)
    assert everything(path) == []
    [(_, sums)] = read_sums(path, "2026-11-25", "2026-11-25")
    assert (sums.requests, sums.failed) == (1000, 1000)
    file.close()


async def noted(path, *records, **options):
    ledger = Ledger(ledger_file(path), lambda: NOON, **options)
    await ledger.start()
    for record in records:
        ledger.ended(record)
    await ledger.close()
    return everything(path) if path.exists() else []


async def test_a_request_is_written_with_what_all_its_tries_cost(path):
    bill = Bill()
    bill.add(Usage(30, 0, 10), 0.000_000_5)
    bill.add(Usage(30, 12), 0.000_001)
    [row] = await noted(path, replace(RECORD, bill=bill))
    assert row == replace(ROW, prompt_tokens=60)


async def test_an_answer_from_the_cache_costs_nothing_and_says_what_it_spared(path):
    [row] = await noted(path, replace(RECORD, cache="hit", bill=Bill()))
    assert (row.cached, row.cost, row.prompt_tokens, row.completion_tokens) == (True, 0, 3, 2)


async def test_what_was_refused_unread_is_nobodys(path):
    assert await noted(path, replace(RECORD, operation="", outcome="UNAUTHENTICATED")) == []


async def test_a_generation_that_goes_on_without_its_caller_is_written_at_its_end(path):
    bill, ledger = Bill(), Ledger(ledger_file(path), lambda: NOON)
    await ledger.start()
    bill.begin()
    bill.add(Usage(5, 1), 0.0)
    ledger.ended(replace(RECORD, outcome="CANCELLED", bill=bill))
    bill.add(Usage(0, 9), 0.000_001)
    bill.end()
    await ledger.close()
    [row] = everything(path)
    assert (row.outcome, row.completion_tokens, row.cost) == ("CANCELLED", 10, 1_000)


async def test_a_ledger_that_cannot_be_written_holds_up_nobody_and_says_so(tmp_path):
    (tmp_path / "file").write_text("no folder")
    ledger = Ledger(ledger_file(tmp_path / "file" / "ledger.sqlite"), lambda: NOON)
    await ledger.start()
    for _ in range(30_000):
        ledger.ended(RECORD)
    await ledger.close()
    assert "cannot be written" in ledger.trouble
    assert len(ledger._waiting) == 20_000


def test_a_damaged_ledger_is_set_aside_and_begun_anew(path):
    path.write_bytes(b"no database" * 1000)
    file = ledger_file(path)
    file.write([ROW])
    assert everything(path) == [ROW]
    assert path.with_name("ledger.sqlite.damaged").exists()
    file.close()


def test_what_is_no_ledger_is_not_read_as_one(path):
    with pytest.raises(FileNotFoundError):
        everything(path)
    assert not path.exists()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        everything(path)


def test_a_reader_does_not_hold_up_the_writer(path):
    file = ledger_file(path)
    file.write([ROW] * 50)
    reading = read_entries(path, "2026-11-25", "2026-11-25")
    next(reading)
    file.write([ROW])
    assert len(list(reading)) == 49
    file.close()
