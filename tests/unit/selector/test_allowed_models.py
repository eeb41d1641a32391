"""A caller meets the models that its credential allows, by name or alias."""

from __future__ import annotations

import pytest
from tests.unit.selector.building import catalog_of, entry, planned

from llmrouter.common.errors import Reason, RouterError
from llmrouter.selector.messages import decode_selection
from llmrouter.v1 import generation_pb2
from llmrouter.v1 import selector_pb2 as pb

CATALOG = catalog_of(entry("one", aliases=("first",)), entry("two"), entry("three"))


@pytest.mark.parametrize(
    ("allowed", "may_answer"),
    [
        ((), {"one", "two", "three"}),
        (("two",), {"two"}),
        (("first", "three", "none such"), {"one", "three"}),
    ],
)
def test_only_what_is_allowed_is_planned_with(allowed, may_answer):
    plan = planned(CATALOG, models=frozenset(allowed))
    assert {one.model for one in plan.candidates} == may_answer
    assert {one.reason for one in plan.exclusions} <= {"the caller may not use it"}


def test_where_nothing_is_allowed_that_could_answer_the_reason_is_told():
    with pytest.raises(RouterError, match="the caller may not use it") as refused:
        planned(CATALOG, models=frozenset({"none such"}))
    assert refused.value.reason is Reason.NO_CANDIDATE


def asked(*names):
    context = generation_pb2.RequestContext(request_id="r", tenant="t")
    return pb.SelectRequest(context=context, allowed_models=names)


def test_the_names_are_read_and_bounded():
    assert decode_selection(asked("a", "b")).models == {"a", "b"}
    for names in (["a"] * 257, ["x" * 257]):
        with pytest.raises(RouterError) as refused:
            decode_selection(asked(*names))
        assert refused.value.violations[0].field == "allowed_models"
