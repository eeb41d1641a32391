"""Imports a checkpoint and kills itself on the way: `python -m` this, with

source, store, precisions with commas between, the stage at which it dies, and the count of it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.store import ModelStore


def main(source: str, store: str, precisions: str, stage: str, count: str) -> None:
    """Import until then."""

    def die(at: str, done: int, total: int) -> None:
        if (at, done) == (stage, int(count)):
            os.kill(os.getpid(), signal.SIGKILL)

    import_checkpoint(Path(source), "tiny", ModelStore(Path(store)), precisions.split(","), die)


if __name__ == "__main__":
    main(*sys.argv[1:])
