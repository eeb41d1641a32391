"""An exported choice is made again exactly, by the policy alone, where nothing else is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.cli.driving import lines, run
from tests.unit.selector.building import (
    Clock,
    answered,
    entry,
    failed,
    request_of,
    selector_of,
    served,
)

from llmrouter.common.ensemble import EnsembleWish
from llmrouter.common.generation import RoutingWishes
from llmrouter.selector import made_from
from llmrouter.selector.decisions import RecordWriter
from llmrouter.selector.plan import Tried
from llmrouter.selector.prediction import Predictions
from llmrouter.selector.replaying import decision_in, replayed
from llmrouter.selector.strategies import BUILT_IN, Strategy, learned, load_strategies

INSTALLED = load_strategies()
HELD = [
    replace(
        served(name, address=f"host:{number}", running=number),
        names=frozenset({"stable", "first"}),
        longest_token_bytes=16 * number,
        draining=name == "d" and number == 1,
        slots=number + 1,
        cache_bytes=100 * number,
    )
    for name in ("a", "b", "c", "d")
    for number in range(2)
]
CATALOG = tuple(
    entry(name, quality=0.3 + place / 10, input_price=place, output_price=place)
    for place, name in enumerate("abcde", 1)
)
WISHES = st.sampled_from(
    [
        RoutingWishes(),
        RoutingWishes(max_latency=1e6),
        RoutingWishes(model="b"),
        RoutingWishes(max_cost=1.0, min_quality=0.35, no_exploration=True),
        RoutingWishes(ensemble=EnsembleWish(2)),
    ]
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([*(one.name for one in BUILT_IN), "learned"]),
        WISHES,
        st.integers(1, 20_000),  # bytes of the prompt
        st.booleans(),  # whether the attempt fails
        st.floats(1e-4, 10),  # its time per token
        st.floats(0, 100),  # what passes before the next
        st.binary(max_size=3),  # the conversation
        st.sampled_from([frozenset(), frozenset({Tried("a", "v1", "host:0", True)})]),
        st.integers(0, 3),  # requests that run at the first endpoint
    ),
    min_size=1,
    max_size=20,
)


def exported(selector):
    writer = RecordWriter()
    return [writer.line(plan_id, one) for plan_id, one in selector.past.newest()]


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_every_choice_of_an_export_comes_out_as_it_was_made(steps):
    held, clock = list(HELD), Clock()
    selector = selector_of(lambda: tuple(held), clock, catalog=CATALOG)
    made = []
    for strategy, wishes, size, bad, pace, passes, conversation, tried, running in steps:
        held[0] = replace(held[0], running=running, version=f"v{running // 2 + 1}")
        request = request_of(size, conversation_key=conversation, user="lovelace", tried=tried)
        request = request._replace(wishes=replace(wishes, strategy=strategy, session="lovelace-1"))
        plan_id, plan = selector.select(request)
        made.append((plan_id, plan))
        outcome = failed() if bad else answered(per_token=pace)
        selector.report(plan_id, [(plan.candidates[0].endpoint, outcome)])
        clock.now += passes
    told = exported(selector)
    results = list(replayed(told, INSTALLED))
    assert [one.plan_id for one in results] == [plan_id for plan_id, _ in made]
    assert [one for one in results if not one.exact] == []
    for line, (_, plan) in zip(told, made, strict=True):
        chosen = [[*one.endpoint, one.score] for one in plan.candidates]
        assert json.loads(line)["chosen"] == chosen
        assert "lovelace" not in line
    assert sum('"catalog": ' in line for line in told) <= 2


def test_predictions_ceilings_and_infinite_numbers_are_part_of_what_is_replayed():
    class Predictor:
        def predict(self, request, models, quality):
            return Predictions(np.linspace(0.2, 1 / 3, len(models)), np.arange(len(models)))

    selector = selector_of(HELD, catalog=CATALOG)
    selector._predictor = Predictor()
    for number in range(50):
        selector.select(request_of(strategy="learned", request_id=f"r{number}"))
    told = exported(selector)
    assert all(one.exact for one in replayed(told, INSTALLED))
    assert any(json.loads(one)["explored"] for one in told)
    array = np.array([[1.0, np.inf], [0.1 + 0.2, -np.inf]])
    listed = json.loads(json.dumps(made_from._listed(array), allow_nan=False))
    assert np.array_equal(np.array(listed, np.float64), array)


def changed(line, *path, to):
    record = json.loads(line)
    at = record
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = to
    return json.dumps(record)


@pytest.mark.parametrize(
    ("path", "to", "parts"),
    [
        (("chosen", 0, 3), 0.5, {"chosen"}),
        (("chosen", 0, 0), "e", {"chosen"}),
        (("reason",), "by whim", {"reason"}),
        (("made_from", "request", "draw"), 1, {"draw"}),
    ],
)
def test_what_comes_out_otherwise_is_named(path, to, parts):
    selector = selector_of(HELD, catalog=CATALOG)
    selector.select(request_of())
    [one] = replayed([changed(exported(selector)[0], *path, to=to)], INSTALLED)
    assert not one.exact
    assert parts <= set(one.differs)


def test_a_record_that_cannot_be_made_again_says_why_and_the_others_are():
    selector = selector_of(HELD, catalog=CATALOG)
    for _ in range(3):
        selector.select(request_of())
    first, second, third = exported(selector)
    alone = list(replayed([second], INSTALLED))
    assert "is in no record before it" in alone[0].error
    old = {name: one for name, one in json.loads(second).items() if name != "made_from"}
    found = list(replayed([first, "no json", "", json.dumps(old), third], INSTALLED))
    assert [one.exact for one in found] == [True, False, False, True]
    assert found[1].plan_id == "line 2"
    assert "does not say what it was made from" in found[2].error


def test_a_catalog_that_is_not_the_one_it_goes_by_is_told():
    selector = selector_of(HELD, catalog=CATALOG)
    for _ in range(2):
        selector.select(request_of())
    first, second = exported(selector)
    tags = ("catalog", "models", 0, "entry", "tags")
    told = list(replayed([changed(first, *tags, to=["region=moon"]), second], INSTALLED))
    assert "the catalog it tells is" in told[0].error
    assert "is in no record before it" in told[1].error
    with pytest.raises(ValueError, match="the catalog it tells is"):
        decision_in(changed(first, *tags, to=["region=moon"]), INSTALLED)
    assert decision_in(first, INSTALLED).chosen


def test_no_line_keeps_those_after_it_from_being_made_again():
    selector = selector_of(HELD, catalog=CATALOG)
    selector.select(request_of())
    [line] = exported(selector)
    deep = "[" * 100_000
    vast = changed(line, "made_from", "figures", "turns", to=[10**30])
    outcomes = list(replayed([deep, vast, line], INSTALLED))
    assert [one.exact for one in outcomes] == [False, False, True]
    assert "RecursionError" in outcomes[0].error
    assert "OverflowError" in outcomes[1].error


def test_a_scorer_of_another_package_is_taken_from_what_is_installed():
    class Shortest:
        def values(self, frame):
            return np.array([1 / len(one.name) for one in frame.view.models])

        def why(self, frame, row):
            return "short"

    own = Strategy("own", {"shortest": 1.0}, scorers={"shortest": Shortest()})
    selector = selector_of(HELD, catalog=CATALOG)
    selector.strategies["own"] = own
    selector.select(request_of(strategy="own"))
    told = exported(selector)
    assert [one.exact for one in replayed(told, {"own": own})] == [True]
    [missing] = replayed(told, INSTALLED)
    assert "KeyError: 'own'" in missing.error


def test_the_scorer_of_learned_is_read_as_it_was_configured():
    one = learned(selector_of(HELD).settings.learned)
    again = made_from.decode_strategy(made_from.encode_strategy(one), {})
    assert repr(again) == repr(one)


def test_the_command_tells_whether_an_export_is_made_again_exactly(tmp_path):
    selector = selector_of(HELD, catalog=CATALOG)
    for _ in range(2):
        selector.select(request_of())
    first, second = exported(selector)
    file = tmp_path / "choices.jsonl"
    file.write_text(f"{first}\n{second}\n")
    result = run("decisions", "replay", str(file))
    assert (result.exit_code, "2 choices made again, exactly" in result.stderr) == (0, True)
    file.write_text(f"{first}\n{changed(second, 'reason', to='by whim')}\n")
    result = run("decisions", "replay", str(file), "--json")
    assert result.exit_code == 1
    [told] = lines(result)
    assert (told["choices"], told["otherwise"][0]["differs"]) == (2, ["reason"])
    assert run("decisions", "replay", str(tmp_path / "none")).exit_code == 1


def test_the_command_tells_a_file_that_is_cut_off_from_a_choice_that_comes_out_otherwise(tmp_path):
    selector = selector_of(HELD, catalog=CATALOG)
    for _ in range(3):
        selector.select(request_of())
    first, second, third = exported(selector)
    file = tmp_path / "choices.jsonl"
    file.write_text(f"{first}\n{changed(second, 'reason', to='by whim')}\n{third[:100]}")
    shown = run("decisions", "replay", str(file)).stdout.splitlines()
    assert [" ".join(line.split()) for line in shown] == [
        "plan comes out otherwise",
        f"{json.loads(second)['plan_id']} reason",
        "plan cannot be made again",
        "line 3 it is no JSON; the file may be cut off",
    ]
