"""Questions are found by their direction in their partition, after a restart and a crash too."""

import contextlib
import hashlib
import tempfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from llmrouter.cache.semantic import index as index_module
from llmrouter.cache.semantic.index import Question, QuestionIndex

PARTITION, OTHER = b"p" * 32, b"q" * 32
DIMENSIONS = 16


def vector(name, dimensions=DIMENSIONS):
    seed = int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:8])
    return np.random.default_rng(seed).standard_normal(dimensions).astype(np.float32)


def question(name, partition=PARTITION):
    return Question(partition, f"question {name}", vector(name))


def place(name):
    return hashlib.sha256(f"place {name}".encode()).digest()


@pytest.fixture
def opened(tmp_path):
    made = []

    def open_index(most=100):
        made.append(QuestionIndex(tmp_path / "similar", most))
        return made[-1]

    yield open_index
    for one in made:
        one.close()


def nearest(index, name, partition=PARTITION):
    return [(one.text, one.place) for one in index.find(question(name, partition), 0.99)]


def test_a_question_is_found_by_its_direction_within_its_partition(opened):
    index = opened()
    for name in range(20):
        index.add(question(name), place(name))
    [found] = index.find(question(7), 0.99)
    assert (found.text, found.place) == ("question 7", place(7))
    assert found.similarity == pytest.approx(1, abs=1e-2)
    assert nearest(index, 7, OTHER) == []
    assert len(index.find(question(7), -1.0)) == 16


def test_an_answer_has_one_question_until_it_is_forgotten(opened):
    index = opened()
    for _ in range(3):
        index.add(question(1), place(1))
    assert len(index) == 1
    index.remove(PARTITION, place(1))
    index.remove(PARTITION, place(1))
    assert (len(index), nearest(index, 1)) == (0, [])


def test_those_kept_longest_ago_are_dropped_for_new_ones(opened):
    index = opened(most=5)
    for name in range(8):
        index.add(question(name, OTHER if name == 1 else PARTITION), place(name))
    assert len(index) == 5
    kept = [name for name in range(8) if nearest(index, name) or nearest(index, name, OTHER)]
    assert kept == [3, 4, 5, 6, 7]


def test_a_restart_finds_all_again(opened):
    first = opened()
    for name in range(10):
        first.add(question(name), place(name))
    first.close()
    second = opened()
    assert [bool(nearest(second, name)) for name in range(10)] == [True] * 10


@pytest.mark.parametrize("graph", ["gone", "old", "torn"])
def test_after_a_crash_the_graph_is_made_good(opened, tmp_path, graph):
    first = opened()
    for name in range(6):
        first.add(question(name), place(name))
    first.close()
    [file] = (tmp_path / "similar").glob("*.usearch")
    old = file.read_bytes()
    second = opened()
    second.add(question("new"), place("new"))
    second.remove(PARTITION, place(0))
    second.close()
    match graph:
        case "gone":
            file.unlink()
        case "old":
            file.write_bytes(old)
        case "torn":
            file.write_bytes(old[: len(old) // 2])
    third = opened()
    assert [bool(nearest(third, name)) for name in (0, 1, 5, "new")] == [False, True, True, True]


def test_a_damaged_store_is_set_aside_and_begun_anew(opened, tmp_path, caplog):
    first = opened()
    first.add(question(1), place(1))
    first.close()
    (tmp_path / "similar/questions/data.mdb").write_bytes(b"x" * 8192)
    second = opened()
    assert len(second) == 0
    assert "set aside as" in caplog.text
    assert list(tmp_path.glob("similar.corrupt-*"))
    second.add(question(2), place(2))
    assert nearest(second, 2)


def test_a_store_that_lost_its_end_is_set_aside_and_ends_no_process(opened, tmp_path):
    first = opened(1000)
    for name in range(200):
        first.add(question(name), place(name))
    first.close()
    with (tmp_path / "similar/questions/data.mdb").open("r+b") as file:
        file.truncate(3 * 4096)
    assert len(opened()) == 0


def test_the_graph_of_a_partition_goes_with_its_last_question(opened, tmp_path):
    first = opened()
    first.add(question(1), place(1))
    first.add(question(2, OTHER), place(2))
    first.close()
    files = tmp_path / "similar"
    (files / f"{b'r'.hex() * 32}.usearch").write_bytes(b"left by a crash")
    assert len(list(files.glob("*.usearch"))) == 3
    second = opened()
    assert len(list(files.glob("*.usearch"))) == 2
    second.remove(PARTITION, place(1))
    second.close()
    assert [file.stem for file in files.glob("*.usearch")] == [OTHER.hex()]
    assert nearest(opened(), 2, OTHER)


def test_what_is_too_large_is_not_kept(opened):
    index = opened()
    index.add(Question(PARTITION, "x" * 20_000, vector(1)), place(1))
    assert len(index) == 0


def test_only_some_partitions_are_held_open(opened, monkeypatch):
    monkeypatch.setattr(index_module, "_OPEN_PARTITIONS", 2)
    index = opened()
    partitions = [bytes([number]) * 32 for number in range(6)]
    for number, partition in enumerate(partitions):
        index.add(question(number, partition), place(number))
    assert len(index._open) == 2
    assert [bool(nearest(index, number, one)) for number, one in enumerate(partitions)] == [
        True
    ] * 6


class Indexing(RuleBasedStateMachine):
    """Whatever is kept, forgotten and reopened: what is found is what a dictionary says."""

    MOST = 6

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "similar"
        self.index = QuestionIndex(self.path, self.MOST)
        self.kept = {}

    NAMES = st.tuples(st.integers(0, 9), st.sampled_from([PARTITION, OTHER]))

    @rule(name=NAMES)
    def keep(self, name):
        number, partition = name
        self.index.add(question(number, partition), place(number))
        self.kept.setdefault(name, None)
        while len(self.kept) > self.MOST:
            self.kept.pop(next(iter(self.kept)))

    @rule(name=NAMES)
    def forget(self, name):
        number, partition = name
        self.index.remove(partition, place(number))
        self.kept.pop(name, None)

    @rule()
    def reopen(self):
        self.index.close()
        self.index = QuestionIndex(self.path, self.MOST)

    @invariant()
    def finds_what_is_kept(self):
        found = {
            (number, partition)
            for number in range(10)
            for partition in (PARTITION, OTHER)
            if nearest(self.index, number, partition)
        }
        assert found == set(self.kept)
        assert len(self.index) == len(self.kept)

    def teardown(self):
        self.index.close()
        self.folder.cleanup()


TestIndexing = Indexing.TestCase
TestIndexing.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


@pytest.mark.parametrize(
    "work",
    [
        lambda index: index.add(question(2), place(2)),
        lambda index: index.remove(PARTITION, place(1)),
    ],
    ids=["add", "remove"],
)
def test_a_commit_that_fails_leaves_a_partition_as_it_was(opened, work):
    index = opened()
    index.add(question(1), place(1))
    disk = index._env

    class Full:
        @contextlib.contextmanager
        def begin(self, *, write=False):
            with disk.begin(write=write) as txn:
                yield txn
                if write:
                    txn.abort()
                    raise lmdb.DiskError("mdb_txn_commit: No space left on device")

    index._env = Full()
    with pytest.raises(lmdb.DiskError):
        work(index)
    index._env = disk
    assert nearest(index, 1) == [("question 1", place(1))]
    for name in (2, 3):
        index.add(question(name), place(name))
        assert nearest(index, name) == [(f"question {name}", place(name))]
