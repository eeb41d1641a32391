"""The learner's memory: bounded, refreshed, and written down example by example."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.selector.learned.prompts import SUMS, examples, prompt, taught

from llmrouter.common.prompt_features import features_of
from llmrouter.selector.learned.examples import Example, Examples
from llmrouter.selector.learned.learner import Learner
from llmrouter.selector.learned.persistence import (
    UnreadableExampleError,
    document_of,
    example_from,
)

ASKED = features_of(prompt(SUMS, 77))
PRIORS = {"small": 0.5, "large": 0.5}


def graded(learner, key, features, model, grade):
    return learner.add(Example(key, features, {model: grade}))


def test_the_oldest_prompt_goes_when_memory_is_full_and_its_key_is_told():
    memory = Examples(capacity=2)
    gone = [memory.add(one)[1] for one in examples(3)]

    assert [one.key for one in memory.all()] == [one.key for one in examples(3)[1:]]
    assert gone == [(), (), (examples(3)[0].key,)]


def test_grades_of_one_plan_join_and_a_later_grade_replaces():
    memory = Examples(capacity=5)
    memory.add(Example("r", ASKED, {"small": 1.0}, at=1))
    memory.add(Example("r", ASKED, {"large": 0.5}, at=2))
    kept, _ = memory.add(Example("r", ASKED, {"small": 0.0}, at=3))

    assert memory.all() == (Example("r", ASKED, {"small": 0.0, "large": 0.5}, at=1),)
    assert memory.all() == (kept,)
    assert memory.count("small") == 1
    assert memory.count("other") == 0


def test_training_is_due_after_enough_new_grades_and_not_before():
    learner = Learner()
    for place, one in enumerate(examples(16)):
        assert not learner.due, place
        graded(learner, one.key, one.features, "large", 1.0)

    assert learner.due
    learner.training()
    assert not learner.due


def test_grades_that_come_while_it_trains_are_kept_for_the_next_training():
    learner = Learner()
    for one in examples(20):
        graded(learner, one.key, one.features, "large", 1.0)
    work = learner.training()
    graded(learner, "later", ASKED, "small", 0.0)
    learner.adopt(work())

    assert learner.chances(ASKED, PRIORS)["small"].grades == 0
    learner.adopt(learner.training()())
    assert learner.chances(ASKED, PRIORS)["small"].grades == 1


@pytest.mark.parametrize("grade", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_grade_outside_of_0_to_1_is_refused(grade):
    with pytest.raises(ValueError, match="is not in 0 to 1"):
        graded(Learner(), "r", ASKED, "small", grade)


def test_a_restored_learner_answers_as_the_saved_one():
    restored = Learner()
    for one in examples(60):
        restored.add(example_from(one.key, json.loads(json.dumps(document_of(one)))))
    assert restored.due
    restored.adopt(restored.training()())

    assert restored.chances(ASKED, PRIORS) == taught(60).chances(ASKED, PRIORS)


def test_an_example_takes_about_a_kilobyte():
    assert len(json.dumps(document_of(examples(1)[0]))) < 1024


def test_an_example_of_another_features_version_is_left_alone():
    assert example_from("r", {**document_of(examples(1)[0]), "version": 99}) is None


DAMAGED = [
    {"shape": "AAAA"},
    {"shape": "?"},
    {"sketch": None},
    {"sketch": 5},
    {"grades": {}},
    {"grades": {"small": 2.0}},
    {"grades": {"small": float("nan")}},
    {"grades": {"small": "good"}},
    {"grades": [1]},
    {"grades": {str(number): 1.0 for number in range(1001)}},
    {"at": "yesterday"},
]


@pytest.mark.parametrize("change", DAMAGED)
def test_a_damaged_example_is_refused_by_its_key(change):
    with pytest.raises(UnreadableExampleError, match="'r' is damaged"):
        example_from("r", {**document_of(examples(1)[0]), **change})


JSON = st.sampled_from(
    [None, True, -1, 0.5, float("inf"), float("nan"), 10**400, "", "AAAA", "é", [], [1], {}]
    + [{"small": wrong} for wrong in (1, True, None, "", "0.5", [], 10**400)]
)


@given(st.dictionaries(st.sampled_from(["version", "at", "shape", "sketch", "grades"]), JSON))
@settings(max_examples=200)
def test_any_document_is_refused_or_read_but_never_fails_otherwise(change):
    for data in (change, {**document_of(examples(1)[0]), **change}):
        try:
            example_from("r", data)
        except UnreadableExampleError:
            continue
