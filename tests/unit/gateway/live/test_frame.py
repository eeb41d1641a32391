"""A frame has bounds whatever the suite holds, and its troubles say what is done about them."""

import copy
import json

from tests.support.live_frames import empty, quiet, ready, stormy

from llmrouter.common.generation import Usage
from llmrouter.common.overview import Overview
from llmrouter.common.telemetry.redaction import HIDDEN
from llmrouter.gateway.live.recent import RecentRequests
from llmrouter.gateway.live.troubles import troubles_in
from llmrouter.gateway.record import RequestRecord
from llmrouter.v1 import inference_pb2, model_pb2
from llmrouter.v1 import selector_pb2 as pb

MAX_BYTES = 256 << 10
LONG = "x" * 5000


def told(frame, level=None):
    return [one["what"] for one in frame["troubles"] if level in (None, one["level"])]


def huge():
    """A suite with more of everything than a page can show, under the longest names."""
    seen = Overview()
    statistics = pb.ModelStatistics(errors={f"{LONG}{n}": n for n in range(50)})
    seen.catalog.degraded = LONG
    for number in range(1000):
        seen.catalog.models.add(
            name=f"{number}{LONG}", version=LONG, statistics=statistics,
            endpoints=[pb.CatalogEndpoint(address=LONG)] * 20,
        )  # fmt: skip
        seen.breakers.breakers.add(model=LONG, address=LONG, last_error=LONG, state=2)
        seen.rollouts.rollouts.add(reason=LONG, spec=pb.RolloutSpec(model=LONG), state=4)
        seen.costs.costs.add(kind="tenant", name=LONG)
    model = inference_pb2.LoadedModel(name=LONG, error=LONG, state=3)
    for number in range(16):
        seen.nodes[f"{number}{LONG}"] = model_pb2.ModelServiceListResponse(models=[model] * 200)
    recent = RecentRequests()
    for number in range(500):
        recent.ended(
            RequestRecord("chat", f"{number:064d}", LONG, "OK", 1.0, LONG, LONG, reason=LONG)
        )
    return seen, recent


def test_a_frame_is_bounded_whatever_the_suite_holds():
    frame = ready(*huge())
    assert len(json.dumps(frame)) < MAX_BYTES
    assert (len(frame["models"]), frame["models_in_all"]) == (64, 1000)
    assert len(frame["troubles"]) == 40


def test_where_models_are_left_out_the_busiest_are_shown():
    seen, recent = huge()
    seen.catalog.models[777].statistics.recent.attempts = 5
    assert any(one["name"].startswith("777x") for one in ready(seen, recent)["models"])


def test_an_empty_suite_has_nothing_to_tell():
    frame = empty()
    assert (frame["requests"], frame["models"], frame["choices"]) == ([], [], [])
    assert told(frame) == ["There is no model to ask."]
    assert frame["traffic"]["first_token"] is None


def test_a_quiet_day_has_notes_alone():
    assert {one["level"] for one in quiet()["troubles"]} == {"note"}


def test_every_trouble_says_what_is_done_and_the_worst_come_first():
    found = stormy()["troubles"]
    assert all(one["done"] for one in found)
    levels = [one["level"] for one in found]
    assert levels == sorted(levels, key=["bad", "warning", "note"].index)


def test_what_is_away_open_failed_full_queued_or_rolled_back_is_named():
    frame = stormy()
    for fact in (
        "cache did not answer", "10.0.0.11:50054 is not reachable", "failed 5 times in a row",
        "could not be loaded", "Memory at 10.0.0.12:50054 is 89% full", "31 requests wait",
        "rolled back: 8 %", "9 of 38 attempts",
        "No endpoint serves smollm2-135m-instruct-fp32 any more",
        "upstream unavailable", "Requests per minute of trial tenants: 97% used",
    ):  # fmt: skip
        assert any(fact in one for one in told(frame)), fact


def test_an_open_breaker_says_who_gets_the_requests_instead():
    frame = stormy()
    [first, *_] = [one for one in frame["troubles"] if "in a row" in one["what"]]
    assert first["done"] == "Left alone: other models get its requests; asked again in 12 s."
    well = copy.deepcopy(frame)
    for one in well["models"]:
        for place in one["endpoints"]:
            place["breaker"] = "closed"
    [first, *_] = [one for one in troubles_in(well) if "in a row" in one["what"]]
    assert first["done"].startswith("Left alone: 2 other replicas of it get its requests")


def test_limits_that_cannot_be_counted_are_told():
    seen, recent = Overview(), RecentRequests()
    frame = ready(seen, recent, limits="redis is away: requests are refused")
    assert told(frame, "bad") == ["Limits: redis is away: requests are refused."]


def test_the_newest_choice_that_weighed_a_model_gives_its_score():
    [model] = [one for one in quiet()["models"] if one["name"] == "smollm2-135m-instruct-int8"]
    assert model["judged"]["score"] == 0.79
    assert model["judged"]["verdicts"]["speed"] == 0.6


def test_a_request_tells_why_what_it_cost_and_where_the_time_went_but_no_user():
    recent = RecentRequests()
    record = RequestRecord(
        "chat", "r-1", "acme", "OK", 1.0, "m", "v", "miss", "plan-1", "because", 1, Usage(3, 4),
        user="ann",
    )  # fmt: skip
    recent.ended(record)
    [one] = ready(Overview(), recent)["requests"]
    assert (one["reason"], one["tokens"], one["plan"]) == ("because", [3, 4], "plan-1")
    assert "ann" not in json.dumps(one)


def test_what_looks_like_a_secret_in_a_callers_own_words_is_hidden_before_it_is_cut():
    key = "sk-" + "a1B2" * 40
    recent = RecentRequests()
    recent.ended(RequestRecord(
        "chat", key[:64], "acme", "UNKNOWN_MODEL", 0.1, asked=f"{'m' * 80} {key}",
    ))  # fmt: skip
    [one] = ready(Overview(), recent)["requests"]
    assert (one["id"], one["asked"]) == (HIDDEN, f"{'m' * 80} {HIDDEN}")


def test_a_model_that_never_served_is_no_trouble():
    seen = Overview()
    seen.catalog.models.add(name="listed")
    assert ready(seen, RecentRequests())["troubles"] == []
