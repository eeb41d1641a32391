"""Which limits a request has to keep. Pure."""

from __future__ import annotations

from collections import Counter
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
    conditions: tuple[tuple[str, frozenset[str]], ...]
    """What it is about, and the names that fit; without any, all requests do."""
    alone: bool
    """Whether no other rule has its name."""

    def fits(self, context: RequestContext, model: str) -> bool:
        """Whether it is about such a request."""
        return all(_OF[name](context, model)[-1] in names for name, names in self.conditions)

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
        names = Counter(rule.name for rule in rules)
        self._rules = [
            _Rule(rule, _limits(rule), _conditions(rule), names[rule.name] == 1) for rule in rules
        ]

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
            limits = [one for one in rule.limits if one.kind.resource in amounts]
            if (limits or not rule.alone) and rule.fits(context, model or ""):
                met.add(name)
                if limits:
                    charges.extend(_charges(rule, limits, context, amounts, now, model or ""))
        return charges


def _limits(rule: RuleSettings) -> tuple[_Limit, ...]:
    given = ((name, kind, getattr(rule, name)) for name, kind in LIMITS.items())
    return tuple(
        _Limit(name, kind, round(most * NANO) if kind.resource is Resource.DOLLARS else most)
        for name, kind, most in given
        if most is not None
    )


def _conditions(rule: RuleSettings) -> tuple[tuple[str, frozenset[str]], ...]:
    given = (
        ("key", rule.keys),
        ("user", rule.users),
        ("tenant", rule.tenants),
        ("model", rule.models),
        ("endpoint", rule.endpoints),
    )
    return tuple((name, frozenset(names)) for name, names in given if names)


def _charges(
    rule: _Rule,
    limits: Sequence[_Limit],
    context: RequestContext,
    amounts: Mapping[Resource, int],
    now: int,
    model: str,
) -> list[Charge]:
    told, key = _subject(rule.settings, context, model)
    charges = []
    for limit in limits:
        amount = amounts[limit.kind.resource]
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
    "key": lambda context, model: (context.credential.removeprefix(_KEY),),
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
        words.append(f"{dimension} {who}")
    return ", ".join(words) or "all callers", parts
