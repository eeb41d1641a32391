from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmrouter.inference.models.residency import Resident, fits, idle_since, next_to_leave
from llmrouter.inference.models.versions import VersionKey


def resident(name, memory=1, last_used=0.0, users=0, pinned=False):
    return Resident(VersionKey(name), memory, last_used, users, pinned)


RESIDENTS = st.lists(
    st.builds(
        Resident,
        st.builds(VersionKey, st.integers().map(str)),
        st.integers(0, 100),
        st.floats(0, 100),
        st.integers(0, 2),
        st.booleans(),
    ),
    unique_by=lambda one: one.key,
)


def test_idle_models_leave_least_recently_used_first():
    ours = [resident("b", last_used=2), resident("a", last_used=1), resident("c", last_used=9)]
    assert [key.name for key in idle_since(ours, 5)] == ["a", "b"]


def test_the_idle_make_room_before_the_busy_and_the_busy_before_nobody():
    busy, idle = resident("busy", last_used=1, users=3), resident("idle", last_used=8)
    assert next_to_leave([busy, idle]) == idle.key
    assert next_to_leave([busy]) == busy.key
    assert next_to_leave([resident("essential", pinned=True)]) is None


@given(RESIDENTS, st.floats(0, 100))
def test_neither_the_essential_nor_the_busy_are_swept(residents, moment):
    swept = {one.key: one for one in residents if one.key in idle_since(residents, moment)}
    assert all(
        not one.pinned and not one.users and one.last_used <= moment for one in swept.values()
    )
    kept = [one for one in residents if one.key not in swept]
    assert all(one.pinned or one.users or one.last_used > moment for one in kept)


@given(RESIDENTS, st.integers(0, 200), st.integers(0, 200))
def test_what_fits_is_reached_by_letting_one_after_another_leave(residents, needed, budget):
    left = list(residents)
    while sum(one.memory for one in left) + needed > budget:
        key = next_to_leave(left)
        if key is None:
            break
        left = [one for one in left if one.key != key]
    made = sum(one.memory for one in left) + needed <= budget
    assert made == fits(residents, needed, budget)
