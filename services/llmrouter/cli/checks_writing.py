"""Checks of the places that services write to: each is tried."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from llmrouter.cli.checks_machine import nearest
from llmrouter.cli.findings import Finding, State

if TYPE_CHECKING:
    from llmrouter.suite import SuiteSettings

__all__ = ["check_writing"]

_XDG = "XDG_DATA_HOME"


def check_writing(settings: SuiteSettings, data: Path) -> Iterator[Finding]:
    """Try to write wherever services keep something; a temporary file is made and removed.

    Args:
        settings: The whole configuration.
        data: The data directory; of a folder that is not there yet the nearest above it is tried.
    """
    leads: dict[Path, list[str]] = {}
    for folder, setting in _folders(settings, data):
        leads.setdefault(nearest(folder), []).append(setting)
    failed = False
    for folder, named in leads.items():
        trouble = _trouble(folder)
        if trouble is None:
            continue
        failed = True
        # Models can be served from where none can be added.
        state = State.WARNING if named == ["inference.store"] else State.FAILED
        # What lies below a data directory that cannot be written has no cause of its own.
        causes = [_XDG] if _XDG in named else list(dict.fromkeys(named))
        remedy = f"check its permissions, or let {' and '.join(causes)} lead elsewhere"
        yield Finding("data", state, f"{folder} cannot be written: {trouble}", remedy)
    if not failed:
        told = f"{data} can be written, and so can what the settings put elsewhere"
        yield Finding("data", State.OK, told)


def _folders(settings: SuiteSettings, data: Path) -> Iterator[tuple[Path, str]]:
    """Yield each folder that is written to, with what leads elsewhere."""
    gateway, selector, cache = settings.gateway, settings.selector, settings.cache
    yield data, _XDG
    yield settings.inference.store or data / "models", "inference.store"
    if cache.disk_max_bytes and cache.shared is None:
        yield cache.disk_path or data / "answers", "cache.disk_path"
    identity, limits, ledger = gateway.identity, gateway.limits, gateway.ledger
    counts_here, keeps_ledger = limits.redis is None, ledger.keep_summary_days > 0
    for file, setting in (
        (identity.key_store, "gateway.identity.key_store"),
        (identity.audit_file, "gateway.identity.audit_file"),
        (limits.file if counts_here else None, "gateway.limits.file"),
        (ledger.file if keeps_ledger else None, "gateway.ledger.file"),
        (selector.state_path, "selector.state_path"),
    ):
        if file is not None:
            yield file.parent, setting


def _trouble(folder: Path) -> str | None:
    """Return why nothing can be written there; None where something was."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".llmrouter-doctor-"):
            return None
    except OSError as error:
        return error.strerror or str(error)
