"""Damaged and hostile checkpoints are read or refused: no crash, no hang, no memory beyond bounds.

Each copy is imported in a process that may not grow by more than 256 MiB (`attempts.py`).
"""

from __future__ import annotations

import pytest
from tests.fuzz import attempts
from tests.fuzz.damage import damaged
from tests.fuzz.seeds import seeds
from tests.fuzz.trying import try_seed

from llmrouter.common.errors import Reason, RouterError

FORMATS = {"ctranslate2", "embedding", "genai", "gguf", "huggingface", "optimum"}


def test_every_format_has_seeds():
    assert {one.split("/")[0] for one in seeds()} == FORMATS


@pytest.mark.parametrize("seed", seeds())
def test_damaged_copies_are_read_or_refused(seed):
    assert try_seed(seed, 1, 41) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", seeds())
def test_many_damaged_copies_are_read_or_refused(seed):
    assert try_seed(seed, 41, 1000) == []


def test_what_kills_the_process_is_told():
    (harm,) = try_seed("gguf/none", 1, 10)
    assert (harm.number, harm.fault[:11]) == (0, "dies with 1")


@pytest.mark.parametrize("error", [MemoryError("too much"), RecursionError(), ValueError("odd")])
def test_whatever_is_no_refusal_is_a_fault(monkeypatch, tmp_path, error):
    def attempt(*_):
        raise error

    monkeypatch.setattr(attempts, "attempt", attempt)
    assert type(error).__name__ in attempts.fault_of(tmp_path, tmp_path, 1)


def test_a_refusal_names_the_file_and_the_whole_seed_is_not_refused(monkeypatch, tmp_path):
    def attempt(*_):
        raise RouterError(Reason.MODEL_UNAVAILABLE, said)

    monkeypatch.setattr(attempts, "attempt", attempt)
    said = f"{tmp_path.name} is cut off"
    assert attempts.fault_of(tmp_path, tmp_path, 1) is None
    assert "is whole and refused" in attempts.fault_of(tmp_path, tmp_path, 0)
    said = "something is wrong"
    assert "without naming a file" in attempts.fault_of(tmp_path, tmp_path, 1)


def test_the_same_number_does_the_same_damage():
    content = bytes(range(256)) * 20
    copies = [damaged(content, number, "a") for number in range(1, 50)]
    assert copies == [damaged(content, number, "a") for number in range(1, 50)]
    assert len(set(copies)) > 40
