"""What is looked for in texts, and what becomes of it (`gateway.safety:`)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from llmrouter.common.settings import Section

__all__ = ["Action", "CharacterAction", "PersonalKind", "SafetySettings", "ScreenSettings"]


class Action(StrEnum):
    """What becomes of a text in which something is found."""

    OFF = "off"
    """Nothing is looked for."""
    FLAG = "flag"
    """The text passes, and the log tells."""
    REDACT = "redact"
    """What was found is replaced by its kind."""
    BLOCK = "block"
    """The request ends with CONTENT_BLOCKED."""


class CharacterAction(StrEnum):
    """What becomes of control characters."""

    KEEP = "keep"
    STRIP = "strip"
    BLOCK = "block"


class PersonalKind(StrEnum):
    """Kinds of personal data."""

    EMAIL = "email"
    PHONE = "phone"
    """Numbers with a country's code, and those of `phone_regions` without."""
    CARD = "card"
    """Numbers of payment cards whose check digit is right."""
    IBAN = "iban"
    IP_ADDRESS = "ip-address"
    SSN = "ssn"
    """Social security numbers of the United States."""


class ScreenSettings(Section):
    """What is looked for on one of the two ways."""

    secrets: Action = Action.OFF
    """Keys, tokens and passwords: off, flag, redact or block."""
    personal_data: Action = Action.OFF
    """Personal data: off, flag, redact or block."""

    @property
    def active(self) -> bool:
        """Whether anything is looked for."""
        return (self.secrets, self.personal_data) != (Action.OFF, Action.OFF)

    @property
    def altering(self) -> bool:
        """Whether texts may not pass before they were looked at."""
        return not {self.secrets, self.personal_data} <= {Action.OFF, Action.FLAG}


class SafetySettings(Section):
    """How texts are cleaned, and what is looked for in questions and answers."""

    control_characters: CharacterAction = CharacterAction.STRIP
    """In questions, but for tab, line feed and carriage return: keep, strip, block."""
    strip_markup: bool = False
    """Whether HTML comments, scripts and `javascript:` are cut out of questions."""
    suspicious: Literal[Action.OFF, Action.FLAG, Action.BLOCK] = Action.FLAG
    """Questions that look like an attack on what is behind the model: off, flag or block."""
    questions: ScreenSettings = ScreenSettings()
    """What is looked for in questions."""
    answers: ScreenSettings = ScreenSettings()
    """What is looked for in answers."""
    personal_kinds: tuple[PersonalKind, ...] = Field(
        default=tuple(PersonalKind), min_length=1, max_length=len(PersonalKind)
    )
    """Kinds of personal data that count."""
    phone_regions: tuple[Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")], ...] = Field(
        default=(), max_length=16
    )
    """Countries (ISO 3166, as in US) whose phone numbers count without their code."""
