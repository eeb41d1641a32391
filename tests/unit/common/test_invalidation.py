"""Watermarks never let a dead answer live, whatever happens to their bound."""

from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.answer_key import stored_key
from llmrouter.common.invalidation import (
    LABEL_BYTES,
    MAX_WATERMARKS,
    Watermarks,
    answer_labels,
    key_label,
    model_label,
    tag_label,
    tenant_label,
)

LABELS = st.integers(0, 20).map(lambda number: bytes([number]) * LABEL_BYTES)


def test_an_answer_is_dead_for_what_was_invalidated_after_it_began_and_for_nothing_else():
    marks = Watermarks(floor=10)
    marks.mark(b"a", 20)
    assert marks.living([b"b"], 10)
    assert not marks.living([b"b"], 9)
    assert not marks.living([b"b", b"a"], 19)
    assert marks.living([b"b", b"a"], 20)


def test_past_its_bound_the_eldest_labels_give_way_to_a_floor_for_all():
    marks = Watermarks(most=2)
    assert marks.mark(b"a", 1) == []
    assert marks.mark(b"b", 2) == []
    assert marks.mark(b"a", 3) == []
    assert marks.mark(b"c", 4) == [b"b"]
    assert (len(marks), marks.floor) == (2, 2)
    assert not marks.living([], 1)
    assert marks.living([b"b"], 2)
    assert marks.since(2) == [(b"a", 3), (b"c", 4)]
    assert marks.since(3) == [(b"c", 4)]


@given(st.lists(st.tuples(LABELS, st.integers(0, 3)), max_size=60), st.integers(1, 8))
def test_whatever_the_bound_a_dead_answer_stays_dead_and_the_newest_live(steps, most):
    marks, exact = Watermarks(most=most), {}
    for sequence, (label, ago) in enumerate(steps, 1):
        marks.mark(label, sequence)
        exact[label] = sequence
        as_of = sequence - ago
        for other, mark in exact.items():
            if mark > as_of:
                assert not marks.living([other], as_of)
        assert marks.living(list(exact), sequence)
        assert len(marks) <= most


@given(st.lists(LABELS, max_size=40), st.integers(0, 40), st.integers(1, 8))
def test_who_was_away_knows_as_much_as_the_others_once_told_what_came_since(labels, left, most):
    here, there = Watermarks(most=most), Watermarks(most=most)
    for sequence, label in enumerate(labels, 1):
        here.mark(label, sequence)
        if sequence <= left:
            there.mark(label, sequence)
    there.raise_floor(here.floor)
    for label, sequence in here.since(left):
        there.mark(label, sequence)
    for as_of in range(len(labels) + 1):
        for label in labels:
            assert here.living([label], as_of) or not there.living([label], as_of)
            assert there.living([label], as_of) or not here.living([label], as_of)


NAMES = st.text(max_size=3)


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_labels_of_different_things_differ(one, other):
    def all_of(pair):
        return [
            tenant_label(pair[0]), model_label(*pair), tag_label(*pair),
            key_label(stored_key(pair[0], pair[1].encode())),
        ]  # fmt: skip

    for at, label in enumerate(all_of(one)):
        for place, another in enumerate(all_of(other)):
            if label == another:
                assert at == place
                assert one[0] == other[0] if at == 0 else one == other


def test_the_labels_of_an_answer_are_those_it_can_be_invalidated_by():
    assert answer_labels(b"p", "t", "m", "v", ["x"]) == (
        key_label(b"p"),
        tenant_label("t"),
        model_label("m", ""),
        model_label("m", "v"),
        tag_label("t", "x"),
    )


def test_a_million_tags_invalidated_take_no_more_room_than_the_bound():
    marks = Watermarks()
    for sequence in range(1, 1_000_001):
        marks.mark(sequence.to_bytes(LABEL_BYTES, "big"), sequence)
    assert len(marks) == MAX_WATERMARKS
    assert not marks.living([(1).to_bytes(LABEL_BYTES, "big")], 0)
    assert marks.living([(1_000_000).to_bytes(LABEL_BYTES, "big")], 1_000_000)
