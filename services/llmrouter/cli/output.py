"""What every command writes with: text for people, one JSON object per line for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from llmrouter.common.sizes import size_text

__all__ = [
    "Json",
    "Report",
    "counted",
    "err",
    "facts",
    "for_machines",
    "foreign",
    "milliseconds",
    "note_timeout",
    "note_wish",
    "out",
    "report_progress",
    "show_table",
    "table",
    "time_allowed",
    "visible",
    "write_json",
]

_FOR_MACHINES = "llmrouter.json"
_TIME_ALLOWED = "llmrouter.timeout"


Json = Annotated[bool, typer.Option("--json", help="Write JSON for machines instead.")]
_STARTS_BYTES = "download"
_MIN_WORDS = 10
"""Characters that a column of words may shrink to."""
_GAP = 2
_HIDDEN = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def out() -> Console:
    """Return the console of standard output; lines are never cut when it is no terminal."""
    return _console(stderr=False)


def err() -> Console:
    """Return the console of standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)
    return console


class _Fitting(Table):
    """A table that is too wide for its columns is shown as one line per cell instead."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if sum(_least_width(one, console) for one in self.columns) <= options.max_width + _GAP:
            yield from super().__rich_console__(console, options)
            return
        names = [str(one.header) for one in self.columns]
        for index, row in enumerate(zip(*(one.cells for one in self.columns), strict=True)):
            if index:
                yield ""
            yield facts({name: cell for name, cell in zip(names, row, strict=True) if cell != ""})


def _least_width(column: Column, console: Console) -> int:
    endless = console.options.update_width(10_000)
    cells = (column.header, *column.cells)
    widest = max(Measurement.get(console, endless, cell).maximum for cell in cells)
    return _GAP + (widest if column.no_wrap else min(widest, _MIN_WORDS))


def table(*headings: str, title: str | None = None) -> Table:
    """Return an empty table in the house style.

    A heading that starts with `>` aligns right. In a narrow terminal only words give way: the first
    column, by which rows are told apart, and numbers are never folded. Where that is not enough,
    every cell gets a line of its own, behind its heading.
    """
    made = _Fitting(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    made.padding = (0, _GAP, 0, 0)
    for index, heading in enumerate(headings):
        right = heading.startswith(">")
        made.add_column(
            heading.lstrip(">"),
            justify="right" if right else "left",
            header_style="dim",
            no_wrap=index == 0 or right,
            overflow="fold",
        )
    return made


def write_json(data: object) -> None:
    """Write one line of JSON to standard output."""
    typer.echo(json.dumps(data, ensure_ascii=False))


def note_wish(context: typer.Context, arguments: Sequence[str]) -> None:
    """Remember whether `--json` is given, where a failure of any command finds it.

    The command line is looked at as it came: it may be wrong before typer reads the flag.
    """
    flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
    context.meta[_FOR_MACHINES] = "--json" in flags


def note_timeout(context: typer.Context, seconds: float | None) -> float | None:
    """Remember the time that `--timeout` allows, where a failure of any command finds it."""
    context.meta[_TIME_ALLOWED] = seconds
    return seconds


def time_allowed(context: typer.Context) -> float | None:
    """Return the seconds that `--timeout` allows; None where it does not say."""
    seconds: float | None = context.meta.get(_TIME_ALLOWED)
    return seconds


def for_machines(context: typer.Context) -> bool:
    """Return whether the command line has `--json`."""
    return bool(context.meta.get(_FOR_MACHINES))


def show_table(made: RenderableType, *, on: Console | None = None) -> None:
    """Print a table; a pipe gets its lines without the blanks that pad them."""
    console = on or out()
    if console.is_terminal:
        console.print(made)
        return
    with console.capture() as capture:
        console.print(made)
    lines = (line.rstrip() for line in capture.get().splitlines())
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def counted(count: int, noun: str) -> str:
    """Return so many of something, such as `1 token` or `2,000 tokens`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def milliseconds(time: float) -> str:
    """Return a time given in seconds, such as `12 ms`; `-` for none."""
    return f"{time * 1000:.0f} ms" if time else "-"


def visible(text: str) -> str:
    """Return model output without control characters, so that it cannot steer the terminal."""
    return text.translate(_HIDDEN)


def foreign(text: str) -> str:
    """Return what others wrote as words of one line of ours: neither markup nor control."""
    return escape(" ".join(visible(text).split()))


class Report:
    """A `Progress` callback: one bar per stage on a terminal, else a line per finished stage."""

    def __init__(self, bars: Progress | None, *, as_json: bool = False) -> None:
        self._bars = bars
        self._as_json = as_json
        self._tasks: dict[str, TaskID] = {}
        self._done: set[str] = set()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take in that `done` of `total` units are done; total 0 means unknown."""
        if self._bars is None:
            if total and done >= total and stage not in self._done:
                self._done.add(stage)
                self._finished(stage, total)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total or None)
        self._bars.update(self._tasks[stage], completed=done, total=total or None)

    def tell(self, sentence: str) -> None:
        """Say what no bar shows, above the bars."""
        if self._as_json:
            write_json({"event": "note", "message": sentence})
        else:
            self.console.print(sentence, markup=False, soft_wrap=True)

    @property
    def console(self) -> Console:
        """Where people are told something meanwhile: any other console writes into the bars."""
        return err() if self._bars is None else self._bars.console

    def _finished(self, stage: str, total: int) -> None:
        if self._as_json:
            write_json({"event": "progress", "stage": stage, "done": total, "total": total})
        else:
            amount = f" {size_text(total)}" if stage.startswith(_STARTS_BYTES) else ""
            err().print(f"{stage}{amount}: done", markup=False)


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
    if as_json or not sys.stderr.isatty():
        yield Report(None, as_json=as_json)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        _Amount(),
        TimeRemainingColumn(),
    )
    # What goes to a file must not be drawn into the terminal above the bars.
    with Progress(*columns, console=err(), redirect_stdout=sys.stdout.isatty()) as bars:
        yield Report(bars)


def facts(rows: Mapping[str, RenderableType]) -> Table:
    """Return a two-column table: a dim name and its value."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows.items():
        made.add_row(name, value)
    return made
