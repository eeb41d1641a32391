"""A question stays with the model that answered it, while no other is clearly better."""

from dataclasses import replace

import pytest
from tests.unit.gateway.doubles import FIRST, GREEDY, SECOND, planned

from llmrouter.common.generation import CacheMode, CacheWishes
from llmrouter.gateway.plan import Plan
from llmrouter.gateway.sticky import StickyChoice


def asked(first=1.0, second=1.0, request=GREEDY):
    """A plan that has SECOND first."""
    better, other = replace(SECOND, score=second), replace(FIRST, score=first)
    return replace(planned(request, Plan("p", (better, other), "it scores best")), question=b"q")


def chosen(sticky, plan):
    return sticky.prefer(plan).plan.candidates[0].model


@pytest.mark.parametrize(
    ("first", "second", "model"),
    [(1.0, 1.0, "first"), (1.0, 1.04, "first"), (1.0, 1.2, "second"), (0.0, 0.0, "first")],
)
def test_another_takes_over_once_it_is_clearly_better(first, second, model):
    sticky = StickyChoice()
    assert chosen(sticky, asked(first, second)) == "second"
    sticky.remember(asked(), FIRST)
    assert chosen(sticky, asked(first, second)) == model


def test_who_wants_it_answered_anew_gets_the_best():
    sticky = StickyChoice()
    sticky.remember(asked(), FIRST)
    anew = replace(GREEDY, cache=CacheWishes(mode=CacheMode.REFRESH))
    assert chosen(sticky, asked(request=anew)) == "second"
    assert chosen(sticky, asked()) == "first"
