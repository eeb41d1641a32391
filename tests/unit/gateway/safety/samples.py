"""Secrets and personal data of nobody, put together here so that no scanner takes them for real."""

from llmrouter.gateway.safety.policy import Policy
from llmrouter.gateway.safety.scanner import Scanner
from llmrouter.gateway.safety.settings import SafetySettings

_NAMED = "RSA PRIVATE" + " KEY-----"
KEY = f"-----BEGIN {_NAMED}\n{'MIIEow' * 8}\n{'IBAAKC' * 8}\n-----END {_NAMED}"
SECRETS = {
    "AWS Access Key": "AKIA" + "IOSFODNN7EXAMPLE",
    "GitHub Token": "ghp_" + "a1B2" * 9,
    "Slack Token": "xoxb-" + "123456789012-abcdefabcdef",
    "Stripe Access Key": "sk_live_" + "0a1B" * 6,
    "JSON Web Token": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl",
    "API key": "sk-" + "proj-abcdefghijklmnop1234",
    "Google API key": "AIza" + "SyA-1234567890abcdefghijklmnopqrstu"[:35],
    "npm token": "npm_" + "Ab1" * 12,
    "private key": KEY,
}
PERSONAL = {
    "email": "ann.lee+news@mail.example.org",
    "phone": "+1 415 555 2671",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "ip-address": "192.0.2.17",
    "ssn": "536-90-4399",
}


def policy(**settings) -> Policy:
    """The policy of these settings."""
    return Policy(SafetySettings.model_validate(settings))


def scanner(action="redact") -> Scanner:
    """Looks for everything."""
    return policy(answers={"secrets": action, "personal_data": action}).answers
