"""Numbers of bytes as people read them."""

from __future__ import annotations

__all__ = ["size_text"]


def size_text(count: int) -> str:
    """Return a number of bytes for people, such as `3.4 kB`."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if round(size) < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.1f} {unit}" if unit != "B" and size < 9.95 else f"{size:.0f} {unit}"
