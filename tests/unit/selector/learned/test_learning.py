"""What is learned from graded answers."""

import numpy as np
import pytest
from tests.unit.selector.learned.prompts import SUMS, TALES, examples, prompt, taught

from llmrouter.common.prompt_features import features_of
from llmrouter.selector.learned import regression
from llmrouter.selector.learned.calibration import calibrate
from llmrouter.selector.learned.chances import UNTRAINED, train
from llmrouter.selector.learned.examples import Example
from llmrouter.selector.learned.kernel import likeness, points_of
from llmrouter.selector.learned.learner import Learner

PRIORS = {"small": 0.5, "large": 0.5}


def chances(learner, kind, place=10_001):
    found = learner.chances(features_of(prompt(kind, place)), PRIORS)
    return {name: one.value for name, one in found.items()}


def test_it_learns_which_prompts_a_model_fails_at():
    learner = taught(120)

    assert chances(learner, TALES)["small"] > 0.75
    assert chances(learner, SUMS)["small"] < 0.35
    assert chances(learner, SUMS)["large"] > 0.8


def test_every_chance_is_a_probability_whatever_the_prompt():
    learner = taught(120)

    for text in ("", "?" * 5000, "Ω≈ç√", prompt(SUMS, 1)):
        for one in learner.chances(features_of(text), PRIORS).values():
            assert 0 <= one.value <= 1


def test_nothing_learned_leaves_the_configured_quality():
    found = UNTRAINED.of(features_of("x"), {"a": 0.3, "b": 0.9})

    assert {name: one.value for name, one in found.items()} == {"a": 0.3, "b": 0.9}
    assert all(one.grades == 0 for one in found.values())


def test_a_prompt_without_features_has_the_configured_quality():
    assert chances(taught(40), SUMS) != PRIORS
    assert {n: one.value for n, one in taught(40).chances(None, PRIORS).items()} == PRIORS


def test_a_new_model_has_its_prior_beside_those_learned_and_a_gone_one_is_not_told():
    found = taught(60).chances(features_of(prompt(SUMS, 5)), {"large": 0.5, "new": 0.7})

    assert set(found) == {"large", "new"}
    assert found["new"].value == 0.7
    assert found["large"].grades == 60


def test_a_few_grades_move_the_prior_only_a_little():
    learner = Learner()
    for one in examples(2):
        learner.add(Example(one.key, one.features, {"large": 1.0}))
    learner.adopt(learner.training()())

    assert 0.3 < learner.chances(features_of("x"), {"large": 0.3})["large"].value < 0.5


def test_models_graded_on_different_prompts_learn_from_their_own():
    mixed = examples(80, models=("large",)) + [
        one.__class__(one.key + "s", one.features, {"small": one.grades["small"]})
        for one in examples(80)
    ]

    learned = train(mixed)

    assert learned.grades == (80, 80)
    assert learned.of(features_of(prompt(SUMS, 9)), PRIORS)["small"].value < 0.4


def test_a_model_that_is_always_right_or_always_wrong_can_be_learned():
    learned = train(examples(60, models=("large",)))

    assert learned.of(features_of("x"), {"large": 0.5})["large"].value > 0.85


def test_one_example_is_enough_to_train():
    assert train(examples(1)).grades == (1, 1)


def test_left_out_predictions_are_those_of_leaving_out():
    points = points_of([one.features for one in examples(20)])
    alike = likeness(points, points.spread())
    targets = np.random.default_rng(0).normal(size=20)

    found = regression.fit(alike, targets, noise=5.0).left_out

    for row in (0, 7, 19):
        others = np.delete(np.arange(20), row)
        kernel = alike[np.ix_(others, others)].astype(float) + 5.0 * np.eye(19)
        assert found[row] == pytest.approx(
            alike[row, others] @ np.linalg.solve(kernel, targets[others]), abs=1e-4
        )


def test_the_kernel_is_one_between_a_prompt_and_itself_and_positive_definite():
    points = points_of([one.features for one in examples(40)])
    alike = likeness(points, points.spread())

    assert np.diag(alike) == pytest.approx(np.ones(40), abs=1e-5)
    assert np.linalg.eigvalsh(alike.astype(float)).min() > -1e-5


def test_the_noise_is_high_where_grades_are_random_and_low_where_they_are_not():
    points = points_of([one.features for one in examples(100)])
    alike = likeness(points, points.spread())
    sure = np.array([[one.grades["small"]] for one in examples(100)])
    random = np.random.default_rng(0).integers(0, 2, (100, 1)).astype(float)

    assert regression.choose_noise(alike, sure) == min(regression.NOISES)
    assert regression.choose_noise(alike, random) > min(regression.NOISES)


def test_calibration_finds_the_sigmoid_that_grades_were_drawn_from():
    draw = np.random.default_rng(1)
    deviations = draw.normal(0, 0.2, 20_000)
    grades = (draw.random(20_000) < 1 / (1 + np.exp(-(0.5 + 6 * deviations)))).astype(float)

    found = calibrate(deviations, grades, float(grades.mean()))

    assert found.offset == pytest.approx(0.5, abs=0.1)
    assert found.slope == pytest.approx(6, abs=0.4)


def test_calibration_never_turns_the_ranking_round():
    deviations = np.linspace(-0.3, 0.3, 200)
    found = calibrate(deviations, (deviations < 0).astype(float), 0.5)

    assert found.slope == 0


def test_the_same_examples_teach_the_same():
    one, other = train(examples(60)), train(examples(60))

    assert one.by_shape.tobytes() == other.by_shape.tobytes()
