"""What a caller may ask of the selector, as keyword arguments."""

import pytest

from llmrouter.v1 import generation_pb2
from llmrouter_client import LlmrouterError
from llmrouter_client.requests import request_from


def test_every_wish_reaches_the_request():
    routing = request_from(
        "hi",
        {
            "model": "m",
            "strategy": "s",
            "min_quality": 0.5,
            "max_cost": 0.01,
            "max_latency": 2.5,
            "max_time_to_first_token": 0.25,
            "tags": ["region=eu", "gpu"],
            "session": "talk-1",
            "explore": False,
            "min_confidence": 0.75,
            "ensemble": {"models": 3, "election": "judge", "judge": "wise"},
            "switching": "same-version",
        },
    ).routing
    assert (routing.model, routing.strategy, routing.session) == ("m", "s", "talk-1")
    assert (routing.min_quality, routing.max_cost) == (0.5, 0.01)
    assert routing.max_latency.ToMilliseconds() == 2500
    assert routing.max_time_to_first_token.ToMilliseconds() == 250
    assert list(routing.tags) == ["region=eu", "gpu"]
    assert routing.no_exploration
    assert routing.min_confidence == 0.75
    assert routing.switching == generation_pb2.SWITCHING_SAME_VERSION
    assert routing.ensemble == generation_pb2.Ensemble(
        models=3, election=generation_pb2.ELECTION_JUDGE, judge="wise"
    )


def test_what_is_not_wished_stays_absent():
    routing = request_from("hi", {"max_latency": None}).routing
    assert not routing.HasField("max_latency")
    assert not routing.HasField("max_time_to_first_token")
    assert not routing.tags
    assert not routing.no_exploration
    assert not routing.HasField("ensemble")
    assert not request_from("hi", {"explore": True}).routing.no_exploration


@pytest.mark.parametrize(
    "wrong",
    [
        {"ensemble": 3},
        {"ensemble": {"models": "3"}},
        {"tags": "region=eu"},
        {"tags": 5},
        {"max_latency": "soon"},
    ],
)
def test_a_wish_that_fits_no_field_is_refused(wrong):
    with pytest.raises(LlmrouterError) as refused:
        request_from("hi", wrong)
    assert refused.value.reason == "INVALID_ARGUMENT"
