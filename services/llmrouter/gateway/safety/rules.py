"""What is looked for: patterns of secrets and personal data, and checks of what looks like them.

Patterns take time linear in a text, whatever it is: from detect-secrets come those alone that
begin with a fixed prefix and are bounded or end at once; numbers are checked by python-stdnum and
phonenumbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from llmrouter.gateway.safety.checks import is_address, is_card, is_iban, is_phone, is_ssn
from llmrouter.gateway.safety.settings import PersonalKind

__all__ = [
    "PERSONAL",
    "SECRET",
    "SUSPICIOUS",
    "Kind",
    "Rule",
    "personal_rules",
    "secret_rules",
]

Kind = str
SECRET, PERSONAL = "secret", "personal data"


def _always(text: str) -> bool:
    del text
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is looked for."""

    name: str
    """As events and replacements tell it."""
    kind: Kind
    pattern: re.Pattern[str]
    group: int = 0
    """Which group of the pattern is what was looked for."""
    check: Callable[[str], bool] = _always
    """Whether a match is what it looks like."""
    needs: str = ""
    """What a text must have, in lower case, for the pattern to be tried: finding that out takes a
    hundredth of the time. Without the letters i, k and s, which `re` finds in others as well."""


_FROM_DETECT_SECRETS = (
    ("aws", "AWSKeyDetector", (0, 1)),
    ("azure_storage_key", "AzureStorageKeyDetector", (0,)),
    ("basic_auth", "BasicAuthDetector", (1,)),
    ("github_token", "GitHubTokenDetector", (0,)),
    ("gitlab_token", "GitLabTokenDetector", (0,) * 7),
    ("mailchimp", "MailchimpDetector", (0,)),
    ("pypi_token", "PypiTokenDetector", (0, 0)),
    ("sendgrid", "SendGridDetector", (0,)),
    ("slack", "SlackDetector", (0, 0)),
    ("square_oauth", "SquareOAuthDetector", (0,)),
    ("stripe", "StripeDetector", (0,)),
    ("telegram_token", "TelegramBotTokenDetector", (0,)),
    ("twilio", "TwilioKeyDetector", (0, 0)),
)
"""Module, class, and which group of each of its patterns is the secret."""
_PRIVATE_KEY = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[^-]|-(?!----END ))*(?:-----END [A-Z0-9 ]{0,60}-{0,5})?"
)
_ADDRESS = (
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})"
    r"(?![\w:])"
)
_OWN = (
    # The library's patterns of these take quadratic time, or end before the secret does.
    ("private key", _PRIVATE_KEY),
    ("JSON Web Token", r"(?<![\w-])eyJ[\w-]{8,8192}\.[\w-]{8,16384}(?:\.[\w-]{0,4096})?"),
    ("API key", r"(?<![\w-])sk-[A-Za-z0-9_-]{20,256}"),
    ("Google API key", r"(?<![\w-])AIza[\w-]{35}(?![\w-])"),
    ("npm token", r"(?<![\w-])npm_[A-Za-z0-9]{36}(?!\w)"),
)
SUSPICIOUS = tuple(
    Rule(name, "suspicious", re.compile(pattern, re.IGNORECASE), needs=needs)
    for name, needs, pattern in (
        ("code execution", "(", r"\b(?:exec|eval|system|shell)\s{0,16}\("),
        ("destructive SQL", "table", r"\b(?:drop|delete|truncate)\s{1,16}table\b"),
        ("SQL injection", "elect", r"\bunion\s{1,16}(?:all\s{1,16})?select\b"),
    )
)
"""As the guide's InputSanitizer has them."""


def secret_rules() -> list[Rule]:
    """Return the rules for keys, tokens and passwords."""
    found = [Rule(name, SECRET, re.compile(pattern)) for name, pattern in _OWN]
    for module, name, groups in _FROM_DETECT_SECRETS:
        detector: Any = getattr(import_module(f"detect_secrets.plugins.{module}"), name)
        patterns = zip(detector.denylist, groups, strict=True)
        found += [Rule(detector.secret_type, SECRET, one, group) for one, group in patterns]
    return found


def personal_rules(kinds: Iterable[PersonalKind], regions: Iterable[str]) -> list[Rule]:
    """Return the rules for kinds of personal data.

    Args:
        kinds: Which.
        regions: Countries whose phone numbers count without their code.
    """
    wanted = frozenset(kinds)
    return [one for kind, one in _personal(tuple(regions)) if kind in wanted]


def _personal(regions: tuple[str, ...]) -> Iterator[tuple[PersonalKind, Rule]]:
    for kind, pattern, check in (
        (
            PersonalKind.EMAIL,
            r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])",
            _always,
        ),
        (PersonalKind.CARD, r"(?<![\w.-])\d(?:[ -]?\d){11,18}(?![\w-])", is_card),
        (
            PersonalKind.IBAN,
            r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)",
            is_iban,
        ),
        (PersonalKind.IP_ADDRESS, _ADDRESS, is_address),
        (PersonalKind.SSN, r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])", is_ssn),
        (
            PersonalKind.PHONE,
            r"(?<![\w.])\+?\(?\d(?:[ ().-]{0,2}\d){6,16}(?![\w-])",
            partial(is_phone, regions),
        ),
    ):
        yield kind, Rule(kind.value, PERSONAL, re.compile(pattern), check=check)
