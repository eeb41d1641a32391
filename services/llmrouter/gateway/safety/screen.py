"""Looks through an answer that comes in pieces, and lets none of a secret out before it is whole.

Held back is what may still become something, or more of it: the last word, the groups of digits
and capitals before it, and whatever was found at the very end.
"""

from __future__ import annotations

import re
from dataclasses import replace

from llmrouter.gateway.safety.scanner import Finding, Scanner, redacted

__all__ = ["Screen"]

_CONTEXT = 128
"""Characters of what has been let out that a finding may begin in."""
_GROUPS = 64
"""Characters before the last word that may belong to it."""
_LONGEST_WORD = 8_192
_MAX_HELD = 65_536
_HEADER = re.compile(r"-----BEGIN(?: [A-Z0-9 ]{0,60}-{0,5})?\Z")
_GROUP = re.compile(r"[\dA-Z+(][\dA-Z().+-]*\Z")


class Screen:
    """The text of one choice on its way to the caller."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self._context = ""
        self._held = ""

    def feed(self, text: str) -> tuple[str, list[Finding]]:
        """Take a piece; return what may be let out now, and what was found in it."""
        self._held += text
        whole = self._context + self._held
        findings = self._new(whole)
        until = max(len(self._context), _settled(whole))
        if len(self._held) < _MAX_HELD:
            # What was found at the end may go on; what is not settled may be another thing.
            until = min((one.start for one in findings if one.end >= until), default=until)
            until = min(until, _header(whole))
        else:
            until = len(whole)
        return self._let_out(whole, max(until, len(self._context)), findings)

    def end(self) -> tuple[str, list[Finding]]:
        """Return what was held back, and what was found in it."""
        whole = self._context + self._held
        return self._let_out(whole, len(whole), self._new(whole))

    def _new(self, whole: str) -> list[Finding]:
        """Return what was found that reaches into what is held."""
        let_out = len(self._context)
        return [
            replace(one, start=max(one.start, let_out))
            for one in self._scanner.findings(whole)
            if one.end > let_out
        ]

    def _let_out(self, whole: str, until: int, found: list[Finding]) -> tuple[str, list[Finding]]:
        let_out = len(self._context)
        told = [one for one in found if one.end <= until]
        moved = (replace(one, start=one.start - let_out, end=one.end - let_out) for one in told)
        text = redacted(whole[let_out:until], moved)
        self._context = whole[max(0, until - _CONTEXT) : until]
        self._held = whole[until:]
        return text, told


def _settled(text: str) -> int:
    """Return up to where a text cannot become anything else by what follows."""
    end = len(text.rstrip())
    start = _word(text, end)
    if end - start > _LONGEST_WORD:
        return len(text) - _CONTEXT
    if end < len(text) and not _GROUP.fullmatch(text, start, end):
        return len(text)
    least = max(0, start - _GROUPS)
    while (before := len(text[least:start].rstrip()) + least) > least:
        earlier = _word(text, before)
        if not _GROUP.fullmatch(text, earlier, before):
            break
        start = earlier
    return start


def _word(text: str, end: int) -> int:
    """Return where the word begins that ends at `end`."""
    start = end
    while start > 0 and end - start <= _LONGEST_WORD and not text[start - 1].isspace():
        start -= 1
    return start


def _header(text: str) -> int:
    """Return where the header of a private key begins that has not ended, else the text's end."""
    start = text.rfind("-----BEGIN")
    return start if start >= 0 and _HEADER.match(text, start) else len(text)
