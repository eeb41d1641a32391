"""`python -m tests.benchmarks --name foundation --out figures.json`."""

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from llmrouter.common.errors import RouterError

NAMES = (
    "cache", "cluster", "embedding", "engine", "failover", "foundation", "gateway", "limits",
    "models", "products", "routing", "routing_live", "sampling", "scale", "selector", "semantic",
    "speculation", "telemetry",
)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="make bench", add_help=False)
    parser.add_argument("--name", choices=NAMES, default="foundation")
    parser.add_argument("--out", type=Path, required=True)
    chosen, _ = parser.parse_known_args()
    benchmark = importlib.import_module(f"tests.benchmarks.{chosen.name}")
    full = argparse.ArgumentParser(prog="make bench", parents=[parser])
    takes_options = hasattr(benchmark, "add_options")
    if takes_options:
        benchmark.add_options(full)
    arguments = full.parse_args()
    try:
        report = benchmark.run(arguments) if takes_options else benchmark.run()
    except RouterError as error:  # a model that was not pulled, say
        sys.exit(f"error: {error.message}")
    report.write(arguments.out)
    # As wide as it is, wherever it is written to.
    Console(width=120).print(_table(report))
    for name, reason in report.skipped.items():
        Console().print(f"[yellow]skipped[/] {name}: {reason}")
    Console().print(f"written to {arguments.out}")
    sys.exit(0)


def _table(report):
    table = Table(title=report.benchmark)
    for column in ("figure", "goal", "measured", "spread", "holds"):
        table.add_column(column, no_wrap=True)
    missed = set(report.missed())
    for name, value in report.figures.items():
        kind, bound = report.targets.get(name, ("", ""))
        colour = "red" if name in missed else "green" if kind else "white"
        holds = "" if not kind else "no" if name in missed else "yes"
        low, high = report.spreads.get(name, (None, None))
        spread = "" if low is None else f"{low:,.3f} to {high:,.3f}"
        goal = f"{kind.replace('_', ' ')} {bound}"
        table.add_row(name, goal, f"[{colour}]{value:,.3f}[/]", spread, holds)
    return table


if __name__ == "__main__":
    main()
