"""Whether what looks like personal data is any: check digits, ranges, numbering plans."""

from __future__ import annotations

import ipaddress
import re

import phonenumbers
from stdnum import iban, luhn
from stdnum.us import ssn

__all__ = ["is_address", "is_card", "is_iban", "is_phone", "is_ssn"]


def is_card(text: str) -> bool:
    """Return whether a number of a payment card has the right check digit."""
    return bool(luhn.is_valid(re.sub("[ -]", "", text)))


def is_iban(text: str) -> bool:
    """Return whether an account number has the form of its country, and its check digits."""
    return bool(iban.is_valid(text))


def is_ssn(text: str) -> bool:
    """Return whether a social security number of the United States may have been given out."""
    return bool(ssn.is_valid(text))


def is_address(text: str) -> bool:
    """Return whether this is an address of the Internet Protocol, and of somebody."""
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False


def is_phone(regions: tuple[str, ...], text: str) -> bool:
    """Return whether a number is somebody's.

    Args:
        regions: Countries (ISO 3166) in which one without a country's code is looked up.
        text: The number as it was written.
    """
    for region in (None,) if text.startswith("+") else regions:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return True
    return False
