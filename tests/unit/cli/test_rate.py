"""`llmrouter rate`: one verdict in one of four ways."""

from __future__ import annotations

import pytest
from tests.unit.cli.driving import AWAY, lines, run

from llmrouter.v1 import rating_pb2 as pb


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [
        (["--up"], {"thumb": pb.THUMB_UP}),
        (["--down"], {"thumb": pb.THUMB_DOWN}),
        (["--judged", "0.25"], {"judged": 0.25}),
        (["--score", "4/5"], {"score": pb.Score(value=4, lowest=0, highest=5)}),
        (["--score", "2/1..5"], {"score": pb.Score(value=2, lowest=1, highest=5)}),
        (["--score", "-1/-2..2"], {"score": pb.Score(value=-1, lowest=-2, highest=2)}),
    ],
)
def test_a_verdict_reaches_the_gateway(gateway, address, flags, verdict):
    result = run("rate", "p1", *flags, "--model", "small", "--address", address)
    assert result.stdout == "small got 0.75; 12 of its answers are graded\n"
    assert gateway.requests == [pb.RateOutcomeRequest(plan_id="p1", model="small", **verdict)]


def test_machines_get_what_became_of_it(address):
    result = run("rate", "p1", "--up", "--address", address, "--json")
    assert lines(result) == [{"model": "small", "grade": 0.75, "grades": 12}]


@pytest.mark.parametrize("flags", [[], ["--up", "--down"], ["--up", "--judged", "1"]])
def test_none_or_several_verdicts_are_wrong_usage(flags):
    result = run("rate", "p1", *flags, "--address", AWAY)
    assert result.exit_code == 2
    assert "exactly one of --up, --down, --score and --judged" in result.stderr


@pytest.mark.parametrize("score", ["good", "4", "4/1..", "1.2.3/5"])
def test_a_score_without_a_scale_is_wrong_usage(score):
    result = run("rate", "p1", "--score", score, "--address", AWAY)
    assert result.exit_code == 2
    assert "it must be as 4/5, or 4/1..5" in result.stderr
