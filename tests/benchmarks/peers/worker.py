"""The benchmark's side of a worker: starts it, gives it jobs, keeps it still while others run."""

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.peers.protocol import Outcome

__all__ = ["Worker", "WorkerLostError"]

ROOT = Path(__file__).resolve().parents[3]
LOADS_WITHIN = 180.0
ANSWERS_WITHIN = 600.0


class WorkerLostError(Exception):
    """The worker ended, hung or never was: one sentence says why."""


class Worker:
    """A contestant's process. It only runs during `ask`, stopped by a signal in between.

    A thread pool that spins for a while after its work would otherwise take time from whoever is
    measured next.
    """

    def __init__(self, contestant):
        if contestant.lacks:
            raise WorkerLostError(contestant.lacks)
        self.name = contestant.name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        command = [contestant.python, "-m", f"tests.benchmarks.peers.{contestant.module}"]
        self._process = subprocess.Popen(
            [*command, json.dumps(contestant.settings)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self._unread = b""
        self.told = self._read(LOADS_WITHIN)["ready"]
        self._signal(signal.SIGSTOP)

    def ask(self, job):
        """Return the outcomes of a job and the seconds it took."""
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._read(ANSWERS_WITHIN)
        except BrokenPipeError as error:
            raise self._lost("ended") from error
        self._signal(signal.SIGSTOP)
        return [Outcome(**one) for one in answer["outcomes"]], answer["seconds"]

    def close(self):
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _read(self, patience):
        until = time.monotonic() + patience
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], until - time.monotonic())
            if not ready:
                raise self._lost(f"said nothing for {patience:.0f} s")
            piece = os.read(self._process.stdout.fileno(), 1 << 20)
            if not piece:
                raise self._lost("ended")
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def _lost(self, what):
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        last = lines[-1].strip()[:200] if lines else "it left no word"
        # A moment for one that is ending, so that it says how.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        status = self._process.returncode
        self.close()
        return WorkerLostError(f"{what} (exit status {status}): {last}")

    def _signal(self, number):
        """Send a signal to the worker and what it started."""
        # One that has ended by itself is told of by the next read.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
