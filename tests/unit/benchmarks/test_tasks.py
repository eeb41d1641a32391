"""The tasks of the live benchmark and their checkers."""

import json
from pathlib import Path

import pytest
from tests.benchmarks.tasks import checking, sandbox
from tests.benchmarks.tasks.forms import PER_FAMILY, named
from tests.benchmarks.tasks.split import SPLIT, make

FOLDER = Path(checking.__file__).parent


@pytest.mark.parametrize("split", SPLIT)
def test_the_committed_tasks_are_those_that_the_families_make(split):
    written = [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text().splitlines()]

    assert written == make(split)


def test_there_are_enough_tasks_and_no_family_or_prompt_is_on_both_sides():
    train, test = make("train"), make("test")

    assert len(train) + len(test) >= 240
    assert len(train) == PER_FAMILY * len(SPLIT["train"])
    assert not {one["family"] for one in train} & {one["family"] for one in test}
    assert not {one["prompt"] for one in train} & {one["prompt"] for one in test}


def number(value):
    return {"check": {"kind": "number", "value": value}}


@pytest.mark.parametrize(
    ("answer", "right"),
    [("7", 1), ("3 + 4 = 7.", 1), ("It is 1,007", 0), ("7 or 8", 0), ("seven", 0), ("", 0)],
)
def test_the_last_number_of_an_answer_counts(answer, right):
    assert checking.check(answer, number(7)) == right


def test_a_pattern_is_found_anywhere():
    task = {"check": {"kind": "regex", "pattern": r"\bdef\b"}}

    assert checking.check("use def here", task) == 1
    assert checking.check("undefined", task) == 0


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("for", 1), ("`for`", 1), ("It is `for`.", 1), ("The keyword of a loop is for.", 1),
        ("The keyword for this is while.", 0), ("", 0),
    ],
)  # fmt: skip
def test_a_name_that_is_a_word_as_well_must_be_given_as_a_name(answer, right):
    assert checking.check(answer, {"check": {"kind": "regex", "pattern": named("for")}}) == right


def python(entry, *cases):
    return {"check": {"kind": "python", "entry": entry, "cases": list(cases)}}


ADD = python("add", [[1, 2], 3])


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Sure:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.", 1),
        ("def add(a, b):\n    return a + b", 1),
        ("```\ndef add(a, b):\n    print(a)\n    return a + b\n```", 1),
        ("def add(a, b):\n    return a - b", 0),
        ("def plus(a, b):\n    return a + b", 0),
        ("def add(a, b)\n    return a + b", 0),
        ("I cannot.", 0),
        ("def add(a, b):\n    while True: pass", 0),
        ("def add(a, b):\n    return [0] * 10**10", 0),
        ("def add(a, b):\n    import os\n    return a + b", 0),
        ("def add(a, b):\n    return ().__class__", 0),
        ("def add(a, b):\n    open('x')\n    return a + b", 0),
        ("```\nraise SystemExit\ndef add(a, b): return a + b\n```", 0),
    ],
)
def test_code_is_right_when_its_function_returns_what_is_expected(answer, right):
    assert checking.check(answer, ADD) == right


def test_a_truth_value_is_not_a_number_and_a_tuple_counts_as_a_list():
    assert not sandbox.run_function("def f(): return 1", "f", [[[], True]])
    assert sandbox.run_function("def f(): return (1, 2)", "f", [[[], [1, 2]]])
    assert not sandbox.run_function("def f(): return '1'", "f", [[[], 1.0]])
