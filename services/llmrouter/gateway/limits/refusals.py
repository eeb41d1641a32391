"""A refusal of the counters as the error that callers get. Pure."""

from __future__ import annotations

from llmrouter.common.errors import QuotaViolation, Reason, RouterError
from llmrouter.gateway.limits.charges import Full, Refused
from llmrouter.gateway.limits.resources import NANO, Resource

__all__ = ["refusal"]


def refusal(refused: Refused) -> RouterError:
    """Return RATE_LIMITED where waiting a little helps, else QUOTA_EXHAUSTED."""
    full = refused.full
    worst = max(full, key=lambda one: (one.wait is None, one.wait or 0))
    lasting = any(one.wait is None or one.charge.kind.window.is_calendar for one in full)
    quotas = tuple(QuotaViolation(one.charge.subject, _description(one)) for one in full)
    message = "; ".join(_sentence(one) for one in full)
    return RouterError(
        Reason.QUOTA_EXHAUSTED if lasting else Reason.RATE_LIMITED,
        message,
        metadata={"rule": worst.charge.rule, "limit": worst.charge.kind.of(worst.charge.limit)},
        retry_after=None if worst.wait is None else worst.wait / 1000,
        quotas=quotas,
    )


def _description(one: Full) -> str:
    charge = one.charge
    return f"{charge.kind.of(charge.limit)} (rule {charge.rule})"


def _sentence(one: Full) -> str:
    charge = one.charge
    limit = f"{charge.subject} may use {_description(one)}"
    if charge.amount > charge.limit:
        return f"{limit}, and the request alone may need {_amount(one, charge.amount)}"
    if charge.ceiling < charge.limit:
        limit += f", of which {_amount(one, charge.ceiling)} by requests of this priority"
    if charge.amount > charge.ceiling:
        return f"{limit}, and the request may need {_amount(one, charge.amount)}"
    needed = (
        "" if charge.amount == 1 else f", and the request may need {_amount(one, charge.amount)}"
    )
    return f"{limit}; {_amount(one, one.seen.used)} are used or reserved{needed}"


def _amount(one: Full, amount: int) -> str:
    if one.charge.kind.resource is Resource.DOLLARS:
        return f"{amount / NANO:,.6f}"
    return f"{amount:,}"
