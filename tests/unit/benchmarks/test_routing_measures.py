"""The figures of routing, on cases whose figures are known."""

import json

import numpy as np
import pytest
from tests.benchmarks import routing
from tests.benchmarks.routing_measures import calibration_error, curve

WEAK = np.array([1.0, 0.0] * 500)
STRONG = np.ones(1000)


def test_an_oracle_closes_the_gap_with_the_fewest_strong_calls():
    found = curve(STRONG - WEAK, WEAK, STRONG)

    assert found.apgr == pytest.approx(0.75, abs=1e-3)
    assert found.cpt(0.5) == pytest.approx(0.25)
    assert found.cpt(0.8) == pytest.approx(0.4)


def test_knowing_nothing_is_a_straight_line_whatever_the_order_of_the_file():
    found = curve(np.zeros(1000), np.sort(WEAK), STRONG)

    assert found.apgr == pytest.approx(0.5, abs=0.03)


def test_the_curve_starts_at_nothing_and_ends_at_everything():
    found = curve(np.random.default_rng(0).normal(size=1000), WEAK, STRONG)

    assert (found.shares[0], found.recovered[0]) == (0, 0)
    assert (found.shares[-1], found.recovered[-1]) == (1, pytest.approx(1))


def test_without_a_gap_there_is_nothing_to_measure():
    with pytest.raises(ValueError, match="no gap to close"):
        curve(np.zeros(1000), STRONG, WEAK)


def test_calibration_error_is_how_far_chances_are_from_what_happens():
    assert calibration_error(np.full(1000, 0.5), WEAK) == pytest.approx(0)
    assert calibration_error(np.full(1000, 0.9), WEAK) == pytest.approx(0.4)
    assert calibration_error(np.ones(10), np.ones(10)) == 0


def test_rows_are_read_with_line_separators_inside_of_prompts(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "a\u2028b", "weak_correct": False, "strong_correct": True}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n\n")

    prompts, weak, strong = routing.read(path)

    assert (prompts, weak.tolist(), strong.tolist()) == (["a\u2028b"], [0.0], [1.0])


def test_a_row_that_cannot_be_read_is_told_by_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "weak_correct": 1, "strong_correct": 1}\n{"prompt": "b"}\n')

    with pytest.raises(SystemExit, match="line 2: KeyError"):
        routing.read(path)
