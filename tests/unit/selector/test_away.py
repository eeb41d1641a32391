"""Models that cannot generate now are planned with where no other can: answers may be kept."""

from __future__ import annotations

import pytest
from tests.unit.selector.building import (
    LARGE,
    SMALL,
    figures_of,
    order,
    planned,
    request_of,
    served,
    why,
)

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.breakers import BreakerBook
from llmrouter.selector.catalog import build_catalog
from llmrouter.selector.model_selector import ModelSelector
from llmrouter.selector.plan import Tried
from llmrouter.selector.settings import BreakerSettings, SelectorSettings

WHERE = "; `llmrouter breakers list` says since when and why"


def test_a_model_whose_replicas_drain_or_fail_is_left_out():
    held = [served("a", draining=True), served("b"), served("c")]
    breakers = BreakerBook(BreakerSettings(failures=1))
    breakers.fail(("b", "v1", "host:1"), "INTERNAL", now=0.0)
    plan = planned(
        build_catalog([], held), figures=lambda view: figures_of(view, breakers=breakers)
    )
    assert order(plan) == ["c"]
    assert why(plan)["a"] == "every replica is draining"
    assert why(plan)["b"] == "1 circuit breaker is open"


@pytest.mark.parametrize(
    ("held", "broken", "told"),
    [
        ([served("a", draining=True)], [], "every replica is draining"),
        ([served("a")], ["host:1"], f"1 circuit breaker is open{WHERE}"),
        (
            [served("a", draining=True), served("a", address="host:2")],
            ["host:2"],
            f"1 circuit breaker is open, 1 drain{WHERE}",
        ),
    ],
)
def test_a_model_that_must_be_left_alone_is_away_where_no_other_can_answer(held, broken, told):
    breakers = BreakerBook(BreakerSettings(failures=1))
    for address in broken:
        breakers.fail(("a", "v1", address), "INTERNAL", now=0.0)
    plan = planned(
        build_catalog([], held),
        figures=lambda view: figures_of(view, breakers=breakers),
        max_latency=10,
    )
    assert {one.away for one in plan.candidates} == {told}
    assert plan.reason == f"a cannot serve now: {told}; only kept answers can be given"


def test_one_that_failed_this_request_is_not_away_but_refused():
    tried = frozenset({Tried("a", "v1", "host:1")})
    with pytest.raises(RouterError, match="it has failed this request already"):
        planned(build_catalog([], [served("a")]), tried=tried)


def test_a_model_that_is_away_is_planned_with_only_where_no_other_can_answer():
    gone = served("large", "v1", "gone:1", ready=False, silent=True)
    plan = planned(build_catalog([SMALL, LARGE], [served("small"), gone]))
    assert order(plan) == ["small"]
    assert why(plan)["large"] == "gone:1 does not answer"
    for catalog in (
        build_catalog([LARGE], [gone]),
        build_catalog([SMALL, LARGE], [served("small", capabilities=frozenset()), gone]),
    ):
        plan = planned(catalog, capabilities={"chat"})
        assert [(one.model, one.version, one.away) for one in plan.candidates] == [
            ("large", "v1", "gone:1 does not answer")
        ]
        assert "only kept answers" in plan.reason


def test_neither_open_breakers_nor_ceilings_on_time_keep_answers_of_models_that_are_away():
    gone = served("large", "v1", ready=False, silent=True)
    breakers = BreakerBook(BreakerSettings(failures=1))
    breakers.fail(("large", "v1", "host:1"), "UPSTREAM_UNAVAILABLE", now=0.0)
    plan = planned(
        build_catalog([LARGE], [gone]),
        figures=lambda view: figures_of(view, breakers=breakers),
        max_latency=0.001,
    )
    assert [one.away for one in plan.candidates] == ["host:1 does not answer"]


def test_a_version_that_is_away_beside_one_that_is_served_is_planned_with_when_it_is_named():
    held = [served("m", "v1", "gone:1", ready=False, silent=True), served("m", "v2")]
    catalog = build_catalog([], held)
    assert [one.version for one in planned(catalog, model="m").candidates] == ["v2"]
    [named] = planned(catalog, model="m@v1").candidates
    assert (named.version, named.away) == ("v1", "gone:1 does not answer")
    with pytest.raises(RouterError, match=r"served: m@v2$") as caught:
        planned(catalog, model="m@v3")
    assert caught.value.reason is Reason.UNKNOWN_MODEL


def test_before_any_service_has_told_what_it_holds_a_caller_is_to_ask_again():
    heard = []
    selector = ModelSelector(SelectorSettings(), lambda: (), heard=lambda: bool(heard))
    for model in ("", "unlisted"):
        with pytest.raises(RouterError) as early:
            selector.select(request_of(model=model))
        assert early.value.reason is Reason.MODEL_UNAVAILABLE
        assert early.value.retry_after
    heard.append(True)
    with pytest.raises(RouterError) as empty:
        selector.select(request_of())
    assert empty.value.reason is Reason.NO_CANDIDATE
