"""Which limits a request has to keep. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llmrouter.common.generation import Priority, RequestContext
from llmrouter.gateway.limits.charges import Charge
from llmrouter.gateway.limits.resources import LIMITS, NANO, Kind, Resource, period
from llmrouter.gateway.limits.settings import RuleSettings

__all__ = ["RuleBook"]

_APART = "\x1f"
_KEY = "key "


@dataclass(frozen=True, slots=True)
class _Limit:
    name: str
    kind: Kind
    most: int


@dataclass(frozen=True, slots=True)
class _Rule:
    settings: RuleSettings
    limits: tuple[_Limit, ...]

    def fits(self, context: RequestContext, model: str) -> bool:
        """Whether it is about such a request."""
        rule = self.settings
        wanted = (
            (rule.keys, context.credential.removeprefix(_KEY)),
            (rule.users, context.user),
            (rule.tenants, context.tenant),
            (rule.models, model),
            (rule.endpoints, context.endpoint),
        )
        return all(not names or value in names for names, value in wanted)

    def ceiling(self, most: int, priority: Priority) -> int:
        """Return how much of a limit such requests may use."""
        rule = self.settings
        shares = {Priority.LOW: rule.low_share, Priority.NORMAL: rule.normal_share}
        return int(most * shares.get(priority, 1.0))


class RuleBook:
    """The configured rules.

    Args:
        rules: In their order.
    """

    def __init__(self, rules: Sequence[RuleSettings]) -> None:
        self._rules = [_Rule(rule, _limits(rule)) for rule in rules]

    def limits(self, resources: frozenset[Resource], *, by_model: bool) -> bool:
        """Whether any rule limits one of the resources, as seen by model or without."""
        return any(
            limit.kind.resource in resources
            for rule in self._rules
            if rule.settings.by_model == by_model
            for limit in rule.limits
        )

    def charges(
        self,
        context: RequestContext,
        amounts: Mapping[Resource, int],
        now: int,
        *,
        model: str | None = None,
    ) -> list[Charge]:
        """Return what a request has to reserve.

        Args:
            context: Who asks.
            amounts: How much of each resource; what is left out is not looked at.
            now: Milliseconds since the epoch.
            model: Takes the rules that depend on the model, for this one; None takes the others.
        """
        charges: list[Charge] = []
        met: set[str] = set()
        for rule in self._rules:
            name = rule.settings.name
            if rule.settings.by_model != (model is not None) or name in met:
                continue
            if rule.fits(context, model or ""):
                met.add(name)
                charges.extend(_charges(rule, context, amounts, now, model or ""))
        return charges


def _limits(rule: RuleSettings) -> tuple[_Limit, ...]:
    given = ((name, kind, getattr(rule, name)) for name, kind in LIMITS.items())
    return tuple(
        _Limit(name, kind, round(most * NANO) if kind.resource is Resource.DOLLARS else most)
        for name, kind, most in given
        if most is not None
    )


def _charges(
    rule: _Rule, context: RequestContext, amounts: Mapping[Resource, int], now: int, model: str
) -> list[Charge]:
    told, key = _subject(rule.settings, context, model)
    charges = []
    for limit in rule.limits:
        amount = amounts.get(limit.kind.resource)
        if amount is None:
            continue
        name = _APART.join((rule.settings.name, limit.name, *key))
        label, ends = "", 0
        if limit.kind.window.is_calendar:
            label, ends = period(limit.kind.window, now)
            name += _APART + label
        ceiling = rule.ceiling(limit.most, context.priority)
        charges.append(
            Charge(
                name, rule.settings.name, told, limit.kind, limit.most, ceiling, amount, label, ends
            )
        )
    return charges


_OF: Mapping[str, Callable[[RequestContext, str], tuple[str, ...]]] = {
    "key": lambda context, model: (context.credential,),
    "user": lambda context, model: (context.tenant, context.user),
    "tenant": lambda context, model: (context.tenant,),
    "model": lambda context, model: (model,),
    "endpoint": lambda context, model: (context.endpoint,),
}


def _subject(rule: RuleSettings, context: RequestContext, model: str) -> tuple[str, list[str]]:
    """Return who has the count, for people and for the counter's name."""
    parts: list[str] = []
    words: list[str] = []
    for dimension in rule.per:
        found = _OF[dimension](context, model)
        parts += (dimension, *found)
        who = "/".join(found)
        words.append(who if dimension == "key" and who.startswith(_KEY) else f"{dimension} {who}")
    return ", ".join(words) or "all callers", parts
