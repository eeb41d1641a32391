"""What becomes of a question: its texts cleaned and looked through, or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from llmrouter.common.errors import FieldViolation, Reason, RouterError
from llmrouter.gateway.safety.cleaning import has_control, without_control, without_markup
from llmrouter.gateway.safety.rules import (
    PERSONAL,
    SECRET,
    SUSPICIOUS,
    Rule,
    personal_rules,
    secret_rules,
)
from llmrouter.gateway.safety.scanner import Finding, Scanner, redacted
from llmrouter.gateway.safety.settings import (
    Action,
    CharacterAction,
    SafetySettings,
    ScreenSettings,
)

__all__ = ["Act", "Policy", "blocked"]

_SUSPICIOUS = "suspicious"
_CLEANED = "cleaned"
Act = tuple[str, str, str]
"""Rule, kind and action: what is told of a text instead of the text."""


class Policy:
    """The settings as something to be asked.

    Args:
        settings: What is looked for.
    """

    def __init__(self, settings: SafetySettings) -> None:
        self._settings = settings
        rules = _rules(settings, settings.questions)
        actions = _actions(settings.questions)
        if settings.suspicious is not Action.OFF:
            rules += SUSPICIOUS
            actions[_SUSPICIOUS] = settings.suspicious
        self._questions = Scanner(rules, actions)
        self.answers = Scanner(_rules(settings, settings.answers), _actions(settings.answers))

    def cleaned(self, field: str, text: str, acts: Counter[Act]) -> str:
        """Return a text of a question as it may be passed on.

        Args:
            field: Its path in the request, for errors.
            text: The text.
            acts: What was done is counted here.

        Raises:
            RouterError: CONTENT_BLOCKED naming the rule and the field, never the text.
        """
        text = self._without_control(field, text, acts)
        if self._settings.strip_markup:
            before, text = text, without_markup(text)
            if text != before:
                acts["markup", _CLEANED, "strip"] += 1
        if not self._questions:
            return text
        findings = self._questions.findings(text)
        for one in findings:
            acts[one.rule, one.kind, one.action.value] += 1
        blocking = next((one for one in findings if one.action is Action.BLOCK), None)
        if blocking is not None:
            raise blocked(field, blocking)
        return redacted(text, findings)

    def _without_control(self, field: str, text: str, acts: Counter[Act]) -> str:
        wanted = self._settings.control_characters
        if wanted is CharacterAction.KEEP or not has_control(text):
            return text
        acts["control characters", _CLEANED, wanted.value] += 1
        if wanted is CharacterAction.BLOCK:
            told = "has control characters; leave them out"
            raise RouterError(
                Reason.CONTENT_BLOCKED, f"{field} {told}", violations=(FieldViolation(field, told),)
            )
        return without_control(text)


def blocked(field: str, finding: Finding) -> RouterError:
    """Return the error for what may not pass."""
    kind = "a secret" if finding.kind == SECRET else finding.kind
    told = f"holds what looks like {kind} ({finding.rule}); this gateway does not let it through"
    return RouterError(
        Reason.CONTENT_BLOCKED,
        f"{field} {told}",
        metadata={"rule": finding.rule, "kind": finding.kind},
        violations=(FieldViolation(field, told),),
    )


def _rules(settings: SafetySettings, screen: ScreenSettings) -> tuple[Rule, ...]:
    secrets: Iterable[Rule] = secret_rules() if screen.secrets is not Action.OFF else ()
    personal: Iterable[Rule] = ()
    if screen.personal_data is not Action.OFF:
        personal = personal_rules(settings.personal_kinds, settings.phone_regions)
    return (*secrets, *personal)


def _actions(screen: ScreenSettings) -> dict[str, Action]:
    return {SECRET: screen.secrets, PERSONAL: screen.personal_data}
