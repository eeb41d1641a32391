"""Looks for all rules in a text, and says where each was found."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmrouter.gateway.safety.rules import SECRET, Kind, Rule
from llmrouter.gateway.safety.settings import Action

__all__ = ["Finding", "Scanner", "redacted"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One place in a text."""

    rule: str
    kind: Kind
    action: Action
    start: int
    """The first character."""
    end: int
    """Behind the last one."""


class Scanner:
    """Finds what rules look for.

    Args:
        rules: What to look for.
        actions: What becomes of each kind.
    """

    def __init__(self, rules: Iterable[Rule], actions: Mapping[Kind, Action]) -> None:
        self._rules = tuple((rule, actions[rule.kind]) for rule in rules)

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._rules)

    def findings(self, text: str) -> list[Finding]:
        """Return what is in a text, in order, none within another; secrets go before the rest."""
        lowered = text.lower()
        found = [
            Finding(rule.name, rule.kind, action, *match.span(rule.group))
            for rule, action in self._rules
            if rule.needs in lowered
            for match in rule.pattern.finditer(text)
            if rule.check(match[rule.group])
        ]
        if len(found) < 2:
            return found
        secrets = _disjoint(one for one in found if one.kind == SECRET)
        places = [one.start for one in secrets]
        others = (one for one in found if one.kind != SECRET)
        free = (one for one in others if not _within(one, secrets, places))
        return sorted((*secrets, *_disjoint(free)), key=lambda one: one.start)


def _disjoint(found: Iterable[Finding]) -> list[Finding]:
    """Return findings in order without those that overlap one before them."""
    kept: list[Finding] = []
    for one in sorted(found, key=lambda each: (each.start, -each.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return kept


def _within(one: Finding, others: list[Finding], places: list[int]) -> bool:
    """Return whether a finding overlaps one of others, which start at `places`."""
    after = bisect_left(places, one.end)
    return after > 0 and others[after - 1].end > one.start


def redacted(text: str, findings: Iterable[Finding]) -> str:
    """Return a text with what is to be redacted replaced by what it was."""
    parts, after = [], 0
    for one in findings:
        if one.action is Action.REDACT:
            parts += [text[after : one.start], f"[{one.rule}]"]
            after = one.end
    return "".join((*parts, text[after:])) if parts else text
