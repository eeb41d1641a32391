"""Imports a checkpoint and kills itself on the way: `python -m` this, with

source, store, precisions with commas between, the stage at which it dies, and the count of it. Of
the stages that no progress tells of, `card` is before the card gets its name, `flush` behind it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models import store as models


def main(source: str, store: str, precisions: str, stage: str, count: str) -> None:
    """Import until then."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def told(at: str, done: int, total: int) -> None:
        if (at, done) == (stage, int(count)):
            die()

    if stage == "card":
        Path.replace = die  # type: ignore[assignment,method-assign]
    if stage == "flush":
        models._flush = die
    keeper = models.ModelStore(Path(store))
    import_checkpoint(Path(source), "tiny", keeper, precisions.split(","), told)


if __name__ == "__main__":
    main(*sys.argv[1:])
