"""The learner's memory: bounded, refreshed, saved and read back."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.selector.learned.prompts import SUMS, examples, prompt, taught

from llmrouter.common.prompt_features import features_of
from llmrouter.selector.learned import persistence
from llmrouter.selector.learned.examples import Example, Examples
from llmrouter.selector.learned.learner import Learner

ASKED = features_of(prompt(SUMS, 77))
PRIORS = {"small": 0.5, "large": 0.5}


def test_the_oldest_prompt_goes_when_memory_is_full():
    memory = Examples(capacity=2)
    for one in examples(3):
        memory.add(one)

    assert [one.key for one in memory.all()] == [one.key for one in examples(3)[1:]]


def test_grades_of_one_request_join_and_a_later_grade_replaces():
    memory = Examples(capacity=5)
    memory.add(Example("r", ASKED, {"small": 1.0}))
    memory.add(Example("r", ASKED, {"large": 0.5}))
    memory.add(Example("r", ASKED, {"small": 0.0}))

    assert [dict(one.grades) for one in memory.all()] == [{"small": 0.0, "large": 0.5}]


def test_training_is_due_after_enough_new_grades_and_not_before():
    learner = Learner()
    for place, one in enumerate(examples(16)):
        assert not learner.due, place
        learner.observe(one.key, one.features, "large", 1.0)

    assert learner.due
    learner.training()
    assert not learner.due


def test_grades_that_come_while_it_trains_are_kept_for_the_next_training():
    learner = Learner()
    for one in examples(20):
        learner.observe(one.key, one.features, "large", 1.0)
    work = learner.training()
    learner.observe("later", ASKED, "small", 0.0)
    learner.adopt(work())

    assert learner.chances(ASKED, PRIORS)["small"].grades == 0
    learner.adopt(learner.training()())
    assert learner.chances(ASKED, PRIORS)["small"].grades == 1


def test_a_model_that_has_gone_is_forgotten():
    learner = taught(40)
    learner.forget("small")
    assert learner.due
    learner.adopt(learner.training()())

    assert learner.chances(ASKED, PRIORS)["small"].grades == 0
    assert learner.chances(ASKED, PRIORS)["large"].grades == 40


@pytest.mark.parametrize("grade", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_grade_outside_of_0_to_1_is_refused(grade):
    with pytest.raises(ValueError, match="is not in 0 to 1"):
        Learner().observe("r", ASKED, "small", grade)


def test_a_restored_learner_answers_as_the_saved_one():
    saved = taught(60)
    restored = Learner()
    restored.restore(saved.dump())
    assert restored.due
    restored.adopt(restored.training()())

    assert restored.chances(ASKED, PRIORS) == saved.chances(ASKED, PRIORS)


def test_nothing_learned_can_be_saved_too():
    assert persistence.load(Learner().dump()) == ()


def test_an_example_takes_about_a_kilobyte():
    assert len(persistence.dump(examples(200))) < 200 * 1024


def written(**changes):
    arrays = dict(np.load(io.BytesIO(persistence.dump(examples(3))), allow_pickle=False))
    buffer = io.BytesIO()
    np.savez(buffer, **(arrays | changes))
    return buffer.getvalue()


def test_state_of_another_features_version_is_left_alone():
    told = b'{"version": 99, "models": [], "keys": []}'

    assert persistence.load(written(told=np.frombuffer(told, np.uint8))) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"shapes": np.zeros((3, 5), np.uint8)},
        {"shapes": np.zeros((2, 49), np.uint8)},
        {"words": np.zeros((3, 512), np.float64)},
        {"grades": np.full((3, 2), 2.0, np.float32)},
        {"grades": np.zeros((3, 9), np.float32)},
        {"told": np.frombuffer(b"[]", np.uint8)},
        {"told": np.frombuffer(b"{", np.uint8)},
        {"told": np.frombuffer(b"[" * 100_000, np.uint8)},
    ],
)
def test_damaged_state_is_refused(changes):
    with pytest.raises(persistence.UnreadableStateError):
        persistence.load(written(**changes))


def test_pickled_objects_are_never_read():
    buffer = io.BytesIO()
    np.savez(buffer, told=np.array([object()], dtype=object), allow_pickle=True)

    with pytest.raises(persistence.UnreadableStateError):
        persistence.load(buffer.getvalue())


def test_state_that_would_unpack_to_too_much_is_refused_unread(monkeypatch):
    monkeypatch.setattr(persistence, "_MAX_BYTES", 1000)

    with pytest.raises(persistence.UnreadableStateError, match="would unpack to"):
        persistence.load(persistence.dump(examples(3)))


@given(st.binary(max_size=200), st.integers(0, 2000))
@settings(max_examples=100, deadline=None)
def test_any_other_bytes_are_refused_or_read_but_never_fail_otherwise(noise, place):
    good = persistence.dump(examples(2))
    for content in (noise, good[:place], good[:place] + noise + good[place + len(noise) :]):
        try:
            persistence.load(content)
        except persistence.UnreadableStateError:
            continue


def test_the_file_is_an_ordinary_archive_of_arrays():
    with zipfile.ZipFile(io.BytesIO(persistence.dump(examples(2)))) as archive:
        assert sorted(archive.namelist()) == ["grades.npy", "shapes.npy", "told.npy", "words.npy"]
