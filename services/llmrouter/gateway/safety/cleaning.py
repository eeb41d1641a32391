"""Cuts out of questions what no text needs: control characters, and markup that runs."""

from __future__ import annotations

import re

__all__ = ["has_control", "without_control", "without_markup"]

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_COMMENT_OPENS, _COMMENT_CLOSES = re.compile("<!--"), re.compile("-->")
_SCRIPT_OPENS = re.compile(r"<script\b", re.IGNORECASE)
_SCRIPT_CLOSES = re.compile(r"</script\s{0,16}>", re.IGNORECASE)
_SCHEME = re.compile("javascript:", re.IGNORECASE)


def has_control(text: str) -> bool:
    """Return whether a text has control characters other than tab, LF and CR."""
    return _CONTROL.search(text) is not None


def without_control(text: str) -> str:
    """Return a text without its control characters other than tab, LF and CR."""
    return _CONTROL.sub("", text)


def without_markup(text: str) -> str:
    """Return a text without HTML comments, scripts and `javascript:`.

    A space stands where something was, lest what was around it become another.
    """
    text = _cut(text, _COMMENT_OPENS, _COMMENT_CLOSES)
    return _SCHEME.sub(" ", _cut(text, _SCRIPT_OPENS, _SCRIPT_CLOSES))


def _cut(text: str, opens: re.Pattern[str], closes: re.Pattern[str]) -> str:
    """Return a text without what lies between two marks; one that is never closed stays."""
    parts, after = [], 0
    while (start := opens.search(text, after)) is not None:
        end = closes.search(text, start.end())
        if end is None:
            break
        parts += [text[after : start.start()], " "]
        after = end.end()
    return "".join((*parts, text[after:]))
