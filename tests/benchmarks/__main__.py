"""`python -m tests.benchmarks --name foundation --out figures.json`."""

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

NAMES = ("foundation", "sampling", "speculation")


def main():
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--name", choices=NAMES, default="foundation")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    report = importlib.import_module(f"tests.benchmarks.{arguments.name}").run()
    report.write(arguments.out)
    table = Table("figure", "measured", "target", title=report.benchmark)
    missed = set(report.missed())
    for name, value in report.figures.items():
        kind, bound = report.targets.get(name, ("", ""))
        colour = "red" if name in missed else "green" if kind else "white"
        table.add_row(name, f"[{colour}]{value:,.3f}[/]", f"{kind.replace('_', ' ')} {bound}")
    Console().print(table)
    Console().print(f"written to {arguments.out}")
    sys.exit(0)


if __name__ == "__main__":
    main()
