"""What SQLite's failures mean to people. Pure."""

from __future__ import annotations

__all__ = ["sqlite_said"]

_NO_TABLE = "no such table"
_NO_ROOM = "disk I/O error"
"""What it says, too, where there is no room for a journal."""


def sqlite_said(error: Exception) -> str:
    """Return what a failure to use a file of ours says, with what may have led to it.

    A file is made before its tables are: one without them is what a full disk leaves.
    """
    if _NO_ROOM in str(error):
        return f"{error}; the disk may be full, or fail"
    if _NO_TABLE not in str(error):
        return str(error)
    return (
        f"{error}; the disk may have been full when it was made: whoever writes to it next makes "
        "its tables, once there is room"
    )
