"""US dollars for people: without exponents, though answers cost millionths."""

from __future__ import annotations

import math

__all__ = ["dollars"]

_DIGITS = 3
"""That are shown of a small amount; cents are shown of every one."""


def dollars(amount: float) -> str:
    """Return an amount as `$12.50` or `$0.00000149`."""
    if amount == 0 or not math.isfinite(amount):
        return f"${amount:.2f}"
    places = max(2, _DIGITS - 1 - math.floor(math.log10(abs(amount))))
    text = f"{amount:,.{places}f}"
    cut = text.rstrip("0")
    return f"${max(cut, text[: text.index('.') + 3], key=len)}"
