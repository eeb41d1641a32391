"""`stats cost`: what requests cost, from the ledger of the gateway on this machine."""

from __future__ import annotations

import csv
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from llmrouter.cli.output import Json, counted, err, out, show_table, table, write_json
from llmrouter.cli.running import Config
from llmrouter.cli.writing import whole_file
from llmrouter.common.money import dollars
from llmrouter.common.settings import ConfigError, data_directory, load_config, parse
from llmrouter.common.sqlite_errors import sqlite_said

if TYPE_CHECKING:
    from llmrouter.gateway.ledger.entry import DayKey, Entry, Sums

__all__ = ["add_to"]

_NANO = 1e9
_RISKY = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for a formula."""


class _Group(StrEnum):
    """What costs are summed up by."""

    DAY = "day"
    TENANT = "tenant"
    USER = "user"
    MODEL = "model"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cost")(stats_cost)


def stats_cost(
    by: Annotated[
        list[_Group] | None,
        typer.Option("--by", help="Sum up by this; repeat it. By day and model by default."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=10_000, help="The last so many days.")] = 30,
    since: Annotated[
        str | None, typer.Option(help="First day, as 2026-11-01, instead.", metavar="DAY")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last day; today.", metavar="DAY")] = None,
    tenant: Annotated[str | None, typer.Option(help="This tenant only.")] = None,
    requests: Annotated[
        bool,
        typer.Option("--requests", help="Every request, not sums; with --csv or --json."),
    ] = False,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", help="Write CSV into this file; - writes it to standard output."),
    ] = None,
    ledger: Annotated[
        list[Path] | None,
        typer.Option("--ledger", help="Read this ledger; repeat it to sum up several gateways'."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what requests cost.

    Works on the ledger of the gateway on this machine, or on copies. Days are those of UTC.
    """
    first, last = _span(days, since, until)
    files = ledger or [_configured(config)]
    if requests:
        if csv_file is None and not as_json:
            raise typer.BadParameter("needs --csv or --json", param_hint="--requests")
        rows: Iterable[dict[str, Any]] = map(_request, _entries(files, first, last, tenant))
    else:
        groups = tuple(dict.fromkeys(one.value for one in by or (_Group.DAY, _Group.MODEL)))
        rows = _grouped(_sums(files, first, last, tenant), groups)
    if csv_file is not None:
        _write_csv(csv_file, rows)
    elif as_json:
        for row in rows:
            write_json(row)
    else:
        _show(list(rows), groups)


def _configured(config: Path | None) -> Path:
    from llmrouter.gateway.ledger.opening import ledger_path
    from llmrouter.gateway.settings import GatewaySettings

    given = load_config(config)
    settings = parse(GatewaySettings, given.get("gateway"), "gateway", files=given.files)
    return ledger_path(settings.ledger, data_directory())


def _span(days: int, since: str | None, until: str | None) -> tuple[str, str]:
    last = _day(until, "--until") or datetime.now(UTC).date()
    first = _day(since, "--since") or last - timedelta(days=days - 1)
    return first.isoformat(), last.isoformat()


def _day(text: str | None, flag: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        told = f"must be a day such as 2026-11-01, not {text!r}"
        raise typer.BadParameter(told, param_hint=flag) from None


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        told = f"there is no ledger {file}; a gateway makes it with its first request"
        raise ConfigError(told) from None
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{file} cannot be read as a ledger: {sqlite_said(error)}") from None


def _sums(
    files: Sequence[Path], first: str, last: str, tenant: str | None
) -> Iterator[tuple[DayKey, Sums]]:
    from llmrouter.gateway.ledger.ledger_file import read_sums

    for file in files:
        with _readable(file):
            for key, sums in read_sums(file, first, last):
                if tenant in (None, key.tenant):
                    yield key, sums


def _entries(files: Sequence[Path], first: str, last: str, tenant: str | None) -> Iterator[Entry]:
    from llmrouter.gateway.ledger.ledger_file import read_entries

    for file in files:
        with _readable(file):
            for entry in read_entries(file, first, last):
                if tenant in (None, entry.tenant):
                    yield entry


def _grouped(found: Iterable[tuple[DayKey, Sums]], groups: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per group, in order of what they are grouped by."""
    from llmrouter.gateway.ledger.entry import Sums

    together: dict[tuple[str, ...], Sums] = {}
    for key, sums in found:
        together.setdefault(tuple(getattr(key, one) for one in groups), Sums()).absorb(sums)
    return [
        {**dict(zip(groups, key, strict=True)), **asdict(sums), "cost": sums.cost / _NANO}
        for key, sums in sorted(together.items())
    ]


def _request(entry: Entry) -> dict[str, Any]:
    when = datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="milliseconds")
    return {**asdict(entry), "time": when, "cost": entry.cost / _NANO}


def _write_csv(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    if str(file) == "-":
        _csv(sys.stdout, rows)
        return
    with whole_file(file) as target:
        count = _csv(target, rows)
    err().print(f"{counted(count, 'row')} written to {escape(str(file))}")


def _csv(target: Any, rows: Iterable[dict[str, Any]]) -> int:
    writer = csv.writer(target, lineterminator="\n")
    count = 0
    for row in rows:
        if not count:
            writer.writerow(row)
        writer.writerow([_cell(value) for value in row.values()])
        count += 1
    return count


def _cell(value: object) -> object:
    """Return a value as no spreadsheet runs it, and amounts without exponents."""
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    if isinstance(value, str) and value.startswith(_RISKY):
        return f"'{value}"
    return value


def _show(rows: list[dict[str, Any]], groups: Sequence[str]) -> None:
    if not rows:
        out().print("nothing was asked in these days")
        return
    made = table(*groups, ">requests", ">cached", ">failed", ">read", ">generated", ">cost")
    for row in rows:
        made.add_row(
            *(escape(str(row[one])) or "-" for one in groups),
            *(f"{row[one]:,}" for one in ("requests", "cached", "failed")),
            *(f"{row[one]:,}" for one in ("prompt_tokens", "completion_tokens")),
            dollars(row["cost"]),
        )
    show_table(made)
    total = sum(row["cost"] for row in rows)
    out().print(f"[dim]together[/] {dollars(total)}")
