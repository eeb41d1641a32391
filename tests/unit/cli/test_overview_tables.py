"""What `stats` and `top` say of models and of what fails."""

import pytest

from llmrouter.cli.overview_tables import breakers_table, model_state
from llmrouter.common.overview import Overview
from llmrouter.common.wire import duration
from llmrouter.v1 import selector_pb2 as pb

CLOSED, OPEN, HALF = (
    pb.BREAKER_STATE_CLOSED,
    pb.BREAKER_STATE_OPEN,
    pb.BREAKER_STATE_HALF_OPEN,
)


@pytest.mark.parametrize(
    ("breakers", "addresses", "state"),
    [
        ([], [], "away"),
        ([CLOSED, OPEN], ["a", "b"], "ready"),
        ([OPEN, OPEN], ["a", "b"], "left alone"),
        ([HALF], ["a"], "ready"),
    ],
)
def test_a_model_whose_endpoints_all_failed_too_often_is_not_called_ready(
    breakers, addresses, state
):
    endpoints = [pb.CatalogEndpoint(address="a", breaker=one) for one in breakers]
    model = pb.CatalogModel(name="m", addresses=addresses, endpoints=endpoints)
    assert f"]{state}[" in model_state(model)


def test_what_fails_is_told_with_when_it_is_asked_again():
    seen = Overview()
    seen.breakers = pb.ListBreakersResponse(
        breakers=[
            pb.Breaker(model="m", state=OPEN, failures=5, retry_in=duration(12.4)),
            pb.Breaker(model="m", state=HALF, failures=5),
            pb.Breaker(model="m", state=CLOSED, failures=1),
        ]
    )
    again = list(breakers_table(seen).columns[-1].cells)
    assert again == [
        "in 12 s; others answer until then", "by a few requests; others answer the rest", "still",
    ]  # fmt: skip
