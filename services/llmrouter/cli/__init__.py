"""Command line: one file per command group."""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130


def main() -> None:
    """Be the program `llmrouter`; Ctrl-C ends it quietly even while modules are still loading."""
    try:
        from llmrouter.common.settings import quieten_grpc

        quieten_grpc()  # before anything loads gRPC, which reads its wishes then
        from llmrouter.cli.__main__ import app

        app()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
