"""Which limits a request has to keep, and whose they are."""

import pytest
from pydantic import ValidationError
from tests.unit.gateway.limits.doubles import NOON, asking

from llmrouter.common.generation import Priority
from llmrouter.gateway.limits.resources import NANO, Resource
from llmrouter.gateway.limits.rules import RuleBook
from llmrouter.gateway.limits.settings import LimitSettings, RuleSettings
from llmrouter.gateway.settings import GatewaySettings

ONE = {Resource.REQUESTS: 1}


def book(*rules):
    return RuleBook([RuleSettings(**rule) for rule in rules])


def met(rules, context, amounts=ONE, model=None):
    charges = rules.charges(context, amounts, NOON, model=model)
    return [(charge.rule, charge.subject, charge.limit) for charge in charges]


def test_without_rules_there_are_none():
    assert GatewaySettings().limits.rules == ()
    assert met(book(), asking()) == []


@pytest.mark.parametrize(
    ("per", "subject"),
    [
        ((), "all callers"),
        (("tenant",), "tenant acme"),
        (("user",), "user acme/ann"),
        (("key",), "key 0123456789ab"),
        (("endpoint",), "endpoint generate"),
        (("tenant", "endpoint"), "tenant acme, endpoint generate"),
    ],
)
def test_a_count_belongs_to_whom_the_rule_says(per, subject):
    rules = book({"name": "r", "per": per, "requests_per_second": 5})
    caller = asking(tenant="acme", user="ann", credential="key 0123456789ab", endpoint="generate")
    assert met(rules, caller) == [("r", subject, 5)]


def test_counts_of_different_callers_have_different_names_however_they_are_called():
    rules = book({"name": "r", "per": ["tenant", "user"], "requests_per_second": 5})
    names = {
        rules.charges(asking(tenant=tenant, user=user), ONE, NOON)[0].counter
        for tenant, user in (("a", "b/c"), ("a/b", "c"), ("a", "b"), ("a", ""), ("", "a"))
    }
    assert len(names) == 5


@pytest.mark.parametrize(
    ("only", "fits"),
    [
        ({"tenants": ["acme"]}, True),
        ({"tenants": ["other"]}, False),
        ({"users": ["ann", "bob"]}, True),
        ({"keys": ["0123456789ab"]}, True),
        ({"keys": ["ba9876543210"]}, False),
        ({"endpoints": ["embed"]}, False),
        ({"tenants": ["acme"], "users": ["bob"]}, False),
    ],
)
def test_a_rule_may_be_for_some_callers_only(only, fits):
    rules = book({"name": "r", "requests_per_second": 5, **only})
    caller = asking(tenant="acme", user="ann", credential="key 0123456789ab", endpoint="generate")
    assert bool(met(rules, caller)) == fits


def test_of_rules_with_one_name_the_first_that_fits_counts():
    rules = book(
        {"name": "plan", "tenants": ["gold"], "per": ["tenant"], "requests_per_second": 100},
        {"name": "plan", "per": ["tenant"], "requests_per_second": 10},
        {"name": "all", "requests_per_second": 500},
    )
    assert met(rules, asking(tenant="gold")) == [
        ("plan", "tenant gold", 100), ("all", "all callers", 500)
    ]  # fmt: skip
    assert met(rules, asking(tenant="tin"))[0] == ("plan", "tenant tin", 10)


def test_rules_that_depend_on_the_model_are_looked_at_for_a_model_and_no_others():
    rules = book(
        {"name": "each", "per": ["model"], "requests_per_second": 5},
        {"name": "large", "models": ["large"], "requests_per_second": 1},
        {"name": "plain", "requests_per_second": 9},
    )
    assert met(rules, asking()) == [("plain", "all callers", 9)]
    assert met(rules, asking(), model="small") == [("each", "model small", 5)]
    assert [name for name, _, _ in met(rules, asking(), model="large")] == ["each", "large"]
    assert rules.limits(frozenset({Resource.REQUESTS}), by_model=True)
    assert not rules.limits(frozenset({Resource.TOKENS}), by_model=True)


def test_a_lower_priority_may_use_its_share_alone():
    rules = book({"name": "r", "requests_per_minute": 10, "low_share": 0.55, "normal_share": 0.9})
    ceilings = [
        rules.charges(asking(priority=priority), ONE, NOON)[0].ceiling
        for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
    ]
    assert ceilings == [5, 9, 10]


def test_money_is_counted_in_billionths_and_a_quota_has_a_counter_per_period():
    rules = book({"name": "r", "dollars_per_day": 2.5, "dollars_per_month": 40})
    day, month = rules.charges(asking(), {Resource.DOLLARS: 7}, NOON)
    assert (day.limit, day.amount, day.period) == (2_500_000_000, 7, "2025-11-25")
    assert (month.limit, month.period) == (40 * NANO, "2025-11")
    [later, _] = rules.charges(asking(), {Resource.DOLLARS: 7}, day.ends)
    assert later.counter != day.counter


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([{"name": "r"}], "limits nothing"),
        ([{"name": "r", "per": ["user", "user"], "requests_per_second": 1}], "twice"),
        ([{"name": "a b", "requests_per_second": 1}], "pattern"),
        ([{"name": "r", "requests_per_second": 0}], "greater than or equal"),
        ([{"name": "r", "dollars_per_day": -1}], "greater than 0"),
        (
            [
                {"name": "r", "requests_per_second": 1},
                {"name": "r", "per": ["model"], "requests_per_second": 1},
            ],
            "two names",
        ),
    ],
)  # fmt: skip
def test_rules_that_make_no_sense_are_refused(rules, told):
    with pytest.raises(ValidationError, match=told):
        LimitSettings(rules=rules)
