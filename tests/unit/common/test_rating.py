"""Verdicts become grades of 0 to 1, or are refused by their field."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.rating import Rating, grade_of_score
from llmrouter.common.wire_rating import decode_rating
from llmrouter.v1 import rating_pb2 as pb


def test_each_kind_of_verdict_is_a_grade():
    for verdict, grade in (
        ({"thumb": pb.THUMB_UP}, 1.0),
        ({"thumb": pb.THUMB_DOWN}, 0.0),
        ({"judged": 0.25}, 0.25),
        ({"score": pb.Score(value=4, lowest=1, highest=5)}, 0.75),
        ({"score": pb.Score(value=3, highest=4)}, 0.75),
        ({"score": pb.Score(value=-1, lowest=-1, highest=1)}, 0.0),
    ):
        request = pb.RateOutcomeRequest(plan_id="p", model="m", **verdict)
        assert decode_rating(request) == Rating("p", grade, "m")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "verdict: is missing"),
        ({"thumb": pb.THUMB_UNSPECIFIED}, "thumb: is 0"),
        ({"thumb": 7}, "thumb: is 7"),
        ({"judged": 1.01}, "judged: is 1.01; it must be 0 to 1"),
        ({"judged": float("nan")}, "judged: is nan"),
        ({"score": pb.Score(value=1)}, "score.highest: is 0 with the lowest 0"),
        ({"score": pb.Score(value=1, highest=float("inf"))}, "score.highest: is inf"),
        ({"score": pb.Score(value=float("nan"), highest=5)}, "score.value: is nan"),
        ({"score": pb.Score(value=6, highest=5)}, "score.value: is 6; it must be 0 to 5"),
        ({"judged": 1, "plan_id": ""}, "plan_id: is 0 bytes; it must be 1 to 64"),
        ({"judged": 1, "plan_id": "p" * 65}, "plan_id: is 65 bytes"),
        ({"judged": 1, "model": "m" * 257}, "model: is 257 bytes; at most 256"),
    ],
)
def test_what_is_no_verdict_is_refused_naming_field_and_value(fields, told):
    with pytest.raises(RouterError) as caught:
        decode_rating(pb.RateOutcomeRequest(**{"plan_id": "p", **fields}))
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert caught.value.message.startswith(told)


@given(st.floats(), st.floats(), st.floats())
def test_a_score_is_a_grade_of_0_to_1_or_refused(value, lowest, highest):
    scale = math.isfinite(lowest) and math.isfinite(highest) and lowest < highest
    if scale and lowest <= value <= highest:
        assert 0 <= grade_of_score(value, lowest, highest) <= 1
    else:
        with pytest.raises(RouterError, match=r"^score\."):
            grade_of_score(value, lowest, highest)
