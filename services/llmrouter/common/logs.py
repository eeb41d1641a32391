"""Logs to stderr: JSON in production and staging, readable lines in development.

Each line of a request carries its trace, warnings that repeat are held back and counted, and what
looks like a secret is hidden.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from llmrouter.common.telemetry.redaction import redact
from llmrouter.common.telemetry.repetition import Repetition
from llmrouter.common.telemetry.tracing import current_ids

__all__ = ["configure_logs"]

_Event = MutableMapping[str, Any]
_LOUD = frozenset({"warning", "error", "critical", "exception"})
"""What is held back when it repeats; the lines of requests are not among them."""


def configure_logs(*, json: bool, level: int = logging.INFO) -> None:
    """Set up this process's logs: structlog's lines and the standard library's alike."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    repetition = Repetition()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.processors.format_exc_info,
        redact,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Unrepeated(repetition))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    structlog.configure(
        processors=[_hold_back(repetition), *shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _add_trace(logger: Any, method: str, event: _Event) -> _Event:
    del logger, method
    ids = current_ids()
    if ids is not None:
        event["trace_id"], event["span_id"] = ids
    return event


def _hold_back(repetition: Repetition) -> structlog.typing.Processor:
    def hold_back(logger: Any, method: str, event: _Event) -> _Event:
        del logger
        if method not in _LOUD:
            return event
        fault = event.get("exc_info")
        kind = type(fault).__name__ if isinstance(fault, BaseException) else ""
        before = repetition.pass_on(f"{method} {event.get('event')} {kind}")
        if before is None:
            raise structlog.DropEvent
        return {**event, "held_back": before} if before else event

    return hold_back


class _Unrepeated(logging.Filter):
    """Does the same for the standard library's records."""

    def __init__(self, repetition: Repetition) -> None:
        super().__init__()
        self._repetition = repetition

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record may be written."""
        return self._repetition.pass_on(f"{record.name} {record.levelno} {record.msg}") is not None
