"""Runs attempts and tells what harm they did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

__all__ = ["Harm", "try_seed"]

_MAX_SECONDS = 600
_ONE_ARENA = {**os.environ, "MALLOC_ARENA_MAX": "1"}
"""Else threads reserve 64 MiB each by chance, and a process in bounds runs out of addresses."""


class Harm(NamedTuple):
    """One damaged copy that was neither read nor refused."""

    seed: str
    number: int
    """Of the damage; 0 is the seed itself."""
    fault: str


def try_seed(seed: str, first: int, end: int) -> list[Harm]:
    """Try damages `first` to before `end` of a seed, each death followed by a new process."""
    harms: list[Harm] = []
    while first < end:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.fuzz.attempts", seed, folder]
            done = subprocess.run(
                [*command, str(first), str(end)], capture_output=True, text=True,
                timeout=_MAX_SECONDS, check=False, cwd=Path(__file__).parents[2], env=_ONE_ARENA,
            )  # fmt: skip
        last = 0
        for line in done.stdout.splitlines():
            number, _, fault = line.partition(" ")
            last = int(number)
            if fault:
                harms.append(Harm(seed, last, fault))
        if done.returncode == 0:
            break
        harms.append(Harm(seed, last, _death(done.returncode, done.stderr)))
        if last == 0:
            break
        first = last + 1
    return harms


def _death(code: int, said: str) -> str:
    told = said.strip().splitlines()[-1:] or ["nothing said"]
    if code == -signal.SIGPROF:
        return "computes too long"
    return f"dies with {signal.Signals(-code).name if code < 0 else code}: {told[0][:300]}"
