"""What every command writes with: text for people, one JSON object per line for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

__all__ = [
    "Json",
    "Report",
    "err",
    "facts",
    "for_machines",
    "out",
    "report_progress",
    "table",
    "visible",
    "write_json",
]

_FOR_MACHINES = "llmrouter.json"


def _note(context: typer.Context, as_json: bool) -> bool:
    """Remember the wish where a failure of any command finds it."""
    context.meta[_FOR_MACHINES] = as_json
    return as_json


Json = Annotated[
    bool, typer.Option("--json", help="Write JSON for machines instead.", callback=_note)
]

_STARTS_BYTES = "download"
_HIDDEN = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def out() -> Console:
    """Return the console of standard output; lines are never cut when it is no terminal."""
    return _console(stderr=False)


def err() -> Console:
    """Return the console of standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)
    return console


def table(*headings: str, title: str | None = None) -> Table:
    """Return an empty table in the house style; a heading that starts with `>` aligns right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    made.padding = (0, 2, 0, 0)
    for index, heading in enumerate(headings):
        right = heading.startswith(">")
        made.add_column(
            heading.lstrip(">"),
            justify="right" if right else "left",
            header_style="dim",
            # Rows are told apart by their first cell: others give way, and nothing is cut.
            no_wrap=index == 0,
            overflow="fold",
        )
    return made


def write_json(data: object) -> None:
    """Write one line of JSON to standard output."""
    typer.echo(json.dumps(data, ensure_ascii=False))


def for_machines(context: typer.Context) -> bool:
    """Return whether the command that ran was given `--json`."""
    return bool(context.meta.get(_FOR_MACHINES))


def visible(text: str) -> str:
    """Return model output without control characters, so that it cannot steer the terminal."""
    return text.translate(_HIDDEN)


class Report:
    """A `Progress` callback: one bar per stage for people, a line per finished stage in JSON."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._done: set[str] = set()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take in that `done` of `total` units are done; total 0 means unknown."""
        if self._bars is None:
            if total and done >= total and stage not in self._done:
                self._done.add(stage)
                write_json({"event": "progress", "stage": stage, "done": done, "total": total})
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total or None)
        self._bars.update(self._tasks[stage], completed=done, total=total or None)


class _Amount(ProgressColumn):
    """Megabytes for downloads, per cent for everything else."""

    def render(self, task: Task) -> Text:
        """Return the cell of one bar."""
        if task.description.startswith(_STARTS_BYTES):
            total = f" / {task.total / 1e6:.1f}" if task.total else ""
            return Text(f"{task.completed / 1e6:.1f}{total} MB", style="cyan")
        return Text(f"{task.percentage:.0f} %" if task.total else "", style="cyan")


@contextmanager
def report_progress(*, as_json: bool) -> Iterator[Report]:
    """Show the progress of long work while the block runs."""
    if as_json:
        yield Report(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        _Amount(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), disable=not sys.stderr.isatty()) as bars:
        yield Report(bars)


def facts(rows: Mapping[str, str]) -> Table:
    """Return a two-column table: a dim name and its value."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows.items():
        made.add_row(name, value)
    return made
