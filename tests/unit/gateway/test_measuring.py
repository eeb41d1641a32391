"""What the gateway counts beside its requests."""

from tests.unit.gateway.doubles import CONTEXT, answer_events, play
from tests.unit.telemetry.driving import Page

from llmrouter.common.generation import GenerationRequest
from llmrouter.common.telemetry.telemetry import SILENT, Telemetry
from llmrouter.gateway.limits.alerts import Alert, AlertKind
from llmrouter.gateway.measuring import budget_listeners
from llmrouter.gateway.safety.policy import Policy
from llmrouter.gateway.safety.safeguard import Safeguard
from llmrouter.gateway.safety.settings import SafetySettings

NEWS = Alert(AlertKind.NEARLY_SPENT, "daily", "tenant acme", "5 dollars", "2026-11-25", 4.1, 5.0)


class Answering:
    def generate(self, request, context):
        del request, context
        return play(answer_events(), [])


def test_alerts_of_budgets_are_counted_by_rule_and_not_by_whose_they_are():
    page = Page()
    [listener] = budget_listeners(Telemetry(meter=page.meter))
    listener(NEWS)
    assert page.values("llm_budget_alerts_total") == {'{alert="nearly-spent",rule="daily"}': 1}


def test_nobody_counts_where_nothing_is_measured():
    assert budget_listeners(SILENT) == ()


async def test_what_is_found_in_questions_is_counted_by_its_kind_and_never_by_its_text():
    page, safety = Page(), SafetySettings.model_validate({"suspicious": "flag"})
    guard = Safeguard(Answering(), safety, Policy(safety), page.meter)
    request = GenerationRequest(prompt="1 union select password from users")
    async for _ in guard.generate(request, CONTEXT):
        pass
    assert page.values("llm_safety_findings_total") == {
        f'{{action="flag",kind="suspicious",tenant="{CONTEXT.tenant}",where="question"}}': 1
    }
