"""What `stats` and `top` say of models and of what fails."""

import pytest
from rich.text import Text

from llmrouter.cli.overview_tables import breakers_table, memory_line, model_state
from llmrouter.common.overview import Overview
from llmrouter.common.wire import duration
from llmrouter.v1 import model_pb2
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


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        (
            {"limit_bytes": 25 * 10**9, "budget_bytes": 17 * 10**9},
            "2.6 GB of 25 GB (enough); loaded models count for 1.3 GB of 17 GB",
        ),
        ({}, "2.6 GB (enough); loaded models count for 1.3 GB"),
    ],
)
def test_memory_is_told_with_what_bounds_it_where_that_is_known(bounds, told):
    memory = model_pb2.MemoryStatus(
        pressure=model_pb2.MEMORY_PRESSURE_NONE, used_bytes=26 * 10**8, model_bytes=13 * 10**8,
        **bounds,
    )  # fmt: skip
    node = model_pb2.ModelServiceListResponse(memory=memory, cpu=0.5)
    assert Text.from_markup(memory_line(node)).plain == f"memory {told}  cores 50%"
