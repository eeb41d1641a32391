"""`stats cost`: sums, requests, CSV, and several gateways' ledgers together."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.cli.driving import lines, run
from tests.unit.gateway.ledger.test_ledger import ROW, ledger_file

NOW = datetime.now(UTC)
TODAY = f"{NOW:%Y-%m-%d}"


@pytest.fixture(autouse=True)
def data(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "llmrouter"


def kept(path, *entries):
    file = ledger_file(path)
    file.write([replace(entry, time=NOW.timestamp() + entry.time) for entry in entries])
    file.close()


@pytest.fixture
def ledger(data):
    """Two requests of acme today, one of them from the cache, one of another tenant long ago."""
    row = replace(ROW, time=0, cost=1_500_000_000)
    old = timedelta(days=40).total_seconds()
    kept(
        data / "ledger.sqlite",
        row,
        replace(row, cached=True, cost=0, cache="hit"),
        replace(row, tenant="other", time=-old, cost=7_000_000_000),
    )
    return data / "ledger.sqlite"


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_costs_are_shown_by_day_and_model(ledger):
    shown = run("stats", "cost")
    assert shown.exit_code == 0
    for fact in (TODAY, "large", "$1.50", "together"):
        assert fact in shown.stdout
    assert "$8.50" not in shown.stdout, "40 days ago is not within the last 30"


def test_what_they_are_summed_up_by_and_over_which_days_may_be_said(ledger):
    [one, two] = lines(run("stats", "cost", "--by", "tenant", "--days", "50", "--json"))
    assert one == {
        "tenant": "acme", "requests": 2, "cached": 1, "failed": 0,
        "prompt_tokens": 30, "completion_tokens": 12, "cost": 1.5,
    }  # fmt: skip
    assert (two["tenant"], two["cost"]) == ("other", 7.0)
    assert lines(run("stats", "cost", "--since", "2000-01-01", "--tenant", "other", "--json"))
    assert not lines(run("stats", "cost", "--until", "2000-01-01", "--days", "9", "--json"))


def test_requests_and_sums_are_exported_as_csv(ledger, tmp_path):
    [row] = rows_of(run("stats", "cost", "--by", "model", "--csv", "-").stdout)
    assert row == {
        "model": "large", "requests": "2", "cached": "1", "failed": "0",
        "prompt_tokens": "30", "completion_tokens": "12", "cost": "1.5",
    }  # fmt: skip
    target = tmp_path / "costs.csv"
    told = run("stats", "cost", "--requests", "--csv", str(target))
    assert "2 rows written" in told.stderr
    first, second = rows_of(target.read_text())
    assert (first["tenant"], first["user"], first["credential"]) == (
        "acme", "ann", "key 0123456789ab"
    )  # fmt: skip
    assert (first["cost"], second["cost"], second["cached"]) == ("1.5", "0", "True")
    assert first["time"].startswith(TODAY)


def test_amounts_have_no_exponent_and_no_cell_is_a_formula_to_a_spreadsheet(data):
    kept(data / "ledger.sqlite", replace(ROW, time=0, cost=15, tenant="=1+1"))
    [row] = rows_of(run("stats", "cost", "--by", "tenant", "--csv", "-").stdout)
    assert (row["tenant"], row["cost"]) == ("'=1+1", "0.000000015")


def test_the_ledgers_of_several_gateways_are_summed_up(data, tmp_path):
    places = [tmp_path / name for name in ("one.sqlite", "two.sqlite")]
    for place in places:
        kept(place, replace(ROW, time=0, cost=1_000_000_000))
    flags = [part for place in places for part in ("--ledger", str(place))]
    [row] = lines(run("stats", "cost", "--by", "user", *flags, "--json"))
    assert (row["user"], row["requests"], row["cost"]) == ("ann", 2, 2.0)


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        ((), 1, "there is no ledger"),
        (("--ledger", "nowhere.sqlite"), 1, "there is no ledger nowhere.sqlite"),
        (("--since", "yesterday"), 2, "2026-11-01"),
        (("--requests",), 2, "--csv or --json"),
        (("--by", "week"), 2, "week"),
    ],
)
def test_what_cannot_be_told_is_refused_in_one_sentence(data, flags, code, told):
    result = run("stats", "cost", *flags)
    assert result.exit_code == code
    assert told in " ".join(result.stderr.split())


def test_what_is_no_ledger_is_named(data, tmp_path):
    wrong = tmp_path / "wrong.sqlite"
    wrong.write_bytes(b"no database" * 1000)
    result = run("stats", "cost", "--ledger", str(wrong))
    assert result.exit_code == 1
    assert "cannot be read as a ledger" in " ".join(result.stderr.split())


def test_days_without_requests_are_said_to_be_so(ledger):
    shown = run("stats", "cost", "--since", "2001-01-01", "--until", "2001-01-02")
    assert "nothing was asked" in shown.stdout


def test_a_file_that_a_full_disk_left_without_tables_is_told_and_has_them_once_it_is_written(data):
    data.mkdir()
    (data / "ledger.sqlite").touch()
    refused = run("stats", "cost")
    assert refused.exit_code == 1
    assert "the disk may have been full" in refused.stderr
    kept(data / "ledger.sqlite", replace(ROW, time=0))
    assert run("stats", "cost").exit_code == 0
