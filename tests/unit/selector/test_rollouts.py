"""Rollouts move by stages on evidence and roll back when the new version is worse."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.unit.selector.building import answered, failed

from llmrouter.selector.comparison import Logarithms, Samples, fails_too_often, slower
from llmrouter.selector.rollouts import Rollout, RolloutSpec, RolloutState

SPEC = RolloutSpec("m", "v1", "v2", interval=100, min_samples=10)


def many(rollout, version, count, now, outcome=None):
    for _ in range(count):
        rollout.observe(version, outcome or answered(), now)


def noisy(dice, seconds):
    return answered(per_token=seconds * math.exp(dice.gauss(0, 0.2)))


def test_a_stage_needs_its_time_and_its_samples_and_the_last_one_completes():
    rollout, now = Rollout.begin(SPEC, 0), 0
    for share in SPEC.stages:
        assert rollout.share == share
        many(rollout, "v2", 9, now + 200)
        assert rollout.share == share
        now += 200
        many(rollout, "v2", 1, now)
    assert rollout.state is RolloutState.COMPLETED
    assert rollout.share == 1.0
    rollout = Rollout.begin(SPEC, 0)
    many(rollout, "v2", 100, 99)
    assert rollout.stage == 0
    rollout.look(100)
    assert rollout.stage == 1
    assert rollout.new.attempts == 0


def test_a_version_that_always_fails_is_rolled_back_by_its_second_answer():
    rollout = Rollout.begin(SPEC, 0)
    many(rollout, "v2", 2, 1, failed())
    assert rollout.state is RolloutState.ROLLED_BACK
    assert rollout.share == 0
    assert "2 of 2 attempts on v2 failed, more than 5%" in rollout.reason


def test_one_failure_among_good_answers_is_no_reason_to_roll_back():
    rollout = Rollout.begin(SPEC, 0)
    many(rollout, "v2", 1, 1, failed())
    many(rollout, "v2", 200, 1)
    many(rollout, "v2", 3, 1, failed())
    assert rollout.state is RolloutState.RUNNING


def test_a_version_that_is_much_slower_is_rolled_back_and_one_that_varies_is_not():
    dice = random.Random(3)  # noqa: S311
    for factor, expected in ((2.0, RolloutState.ROLLED_BACK), (1.1, RolloutState.RUNNING)):
        rollout = Rollout.begin(replace(SPEC, interval=1e6), 0)
        for _ in range(200):
            rollout.observe("v1", noisy(dice, 0.01), 1)
            rollout.observe("v2", noisy(dice, 0.01 * factor), 1)
        assert rollout.state is expected
    assert "each token" not in rollout.reason


def test_times_that_vary_a_lot_need_more_evidence_than_a_few_answers():
    old, new = Logarithms(), Logarithms()
    for number in range(26):
        spread = 1.0 if number % 2 else -1.0
        old.add(math.exp(spread))
        new.add(math.exp(0.4 + spread))
    assert new.mean - old.mean > math.log(1.25)
    assert not slower(old, new, 1.25)


def test_faults_of_callers_say_nothing_of_a_version():
    rollout = Rollout.begin(SPEC, 0)
    many(rollout, "v2", 50, 1, replace(failed("CANCELLED"), failed=False, counts=False))
    assert (rollout.new.attempts, rollout.state) == (0, RolloutState.RUNNING)


def test_a_pause_holds_the_share_and_its_time_does_not_count():
    rollout = Rollout.begin(SPEC, 0)
    rollout.look(50)
    rollout.pause(60)
    many(rollout, "v2", 50, 1000)
    assert (rollout.share, rollout.elapsed) == (0.1, 60)
    rollout.resume(2000)
    rollout.look(2039)
    assert rollout.stage == 0
    rollout.look(2040)
    assert rollout.stage == 1


def test_a_paused_rollout_still_rolls_back():
    rollout = Rollout.begin(SPEC, 0)
    rollout.pause(0)
    many(rollout, "v2", 5, 1, failed())
    assert rollout.state is RolloutState.ROLLED_BACK


def test_a_shadow_stage_comes_first_and_gives_nobody_the_new_version():
    rollout = Rollout.begin(replace(SPEC, shadow=0.5), 0)
    assert (rollout.share, rollout.shadow_share) == (0.0, 0.5)
    many(rollout, "v2", 10, 100)
    assert (rollout.share, rollout.shadow_share) == (0.1, 0.0)


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 3))
def test_a_session_that_moved_stays_moved_in_later_stages(place, stage):
    rollout = Rollout(SPEC, stage=stage)
    later = Rollout(SPEC, stage=min(3, stage + 1))
    assert later.takes(place) or not rollout.takes(place)
    assert Rollout(SPEC, stage=3).takes(place)


def test_false_alarms_are_rare():
    dice, alarms = random.Random(5), 0  # noqa: S311
    for _ in range(100):
        rollout = Rollout.begin(replace(SPEC, interval=1e9), 0)
        for _ in range(150):
            bad = dice.random() < 0.01
            rollout.observe("v1", noisy(dice, 0.01), 1)
            rollout.observe("v2", failed() if bad else noisy(dice, 0.01), 1)
        alarms += rollout.state is RolloutState.ROLLED_BACK
    assert alarms <= 3


def test_the_tests_hold_at_their_edges():
    assert not fails_too_often(Samples(), 0.05)
    assert not fails_too_often(Samples(10, 10), 1.0)
    assert fails_too_often(Samples(1000, 80), 0.05)
    assert not fails_too_often(Samples(1000, 51), 0.05)
    steady, twice = Logarithms(), Logarithms()
    for _ in range(20):
        steady.add(1.0)
        twice.add(2.0)
    assert slower(steady, twice, 1.5)
    assert not slower(steady, steady, 1.0)
    assert not slower(twice, steady, 1.0)
    for nonsense in (None, 0.0, -1.0, math.nan, math.inf):
        steady.add(nonsense)
    assert steady.count == 20


class AnyHistory(RuleBasedStateMachine):
    """A rollout under any history and a clock that jumps."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.rollout = Rollout.begin(
            RolloutSpec("m", "v1", "v2", interval=10, min_samples=3, shadow=0.2), 0.0
        )
        self.ended = None
        self.stage = -1

    @rule(seconds=st.sampled_from([-1e9, -1.0, 0.5, 5.0, 11.0, 1e9]))
    def time_passes(self, seconds):
        self.now += seconds
        self.rollout.look(self.now)

    @rule(version=st.sampled_from(["v1", "v2", "v3"]), bad=st.booleans())
    def observe(self, version, bad):
        self.rollout.observe(version, failed() if bad else answered(), self.now)

    @rule()
    def pause(self):
        if self.rollout.state is RolloutState.RUNNING:
            self.rollout.pause(self.now)

    @rule()
    def resume(self):
        if self.rollout.state is RolloutState.PAUSED:
            self.rollout.resume(self.now)

    @rule()
    def restart(self):
        again = Rollout.from_data(self.rollout.data(), self.now)
        assert again.data() == self.rollout.data()
        assert (again.share, again.shadow_share) == (self.rollout.share, self.rollout.shadow_share)
        self.rollout = again

    @invariant()
    def what_always_holds(self):
        rollout = self.rollout
        assert 0 <= rollout.share <= 1
        assert rollout.elapsed >= 0
        assert rollout.stage >= self.stage
        self.stage = rollout.stage
        if self.ended is not None:
            assert (rollout.state, rollout.share) == self.ended
        if not rollout.state.active:
            assert rollout.reason
            assert rollout.share in {0.0, 1.0}
            self.ended = (rollout.state, rollout.share)


TestAnyHistory = AnyHistory.TestCase


TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
