"""What the gateway counts beside its requests."""

from tests.unit.telemetry.driving import Page

from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.gateway.limits.alerts import Alert, AlertKind
from llmrouter.gateway.measuring import budget_listeners

NEWS = Alert(AlertKind.NEARLY_SPENT, "daily", "tenant acme", "5 dollars", "2026-11-25", 4.1, 5.0)


def test_alerts_of_budgets_are_counted_by_rule_and_not_by_whose_they_are():
    page = Page()
    [listener] = budget_listeners(Telemetry(meter=page.meter))
    listener(NEWS)
    assert page.values("llm_budget_alerts_total") == {'{alert="nearly-spent",rule="daily"}': 1}


def test_nobody_counts_where_nothing_is_measured():
    assert budget_listeners(SILENT) == ()
