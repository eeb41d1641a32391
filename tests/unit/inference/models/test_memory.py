"""How short memory is: the files of the kernel, the state machine, and what is given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrouter.common.generation import Priority
from llmrouter.inference.models.memory_monitor import MemoryMonitor
from llmrouter.inference.models.memory_reader import MemoryReader, MemoryUse
from llmrouter.inference.models.pressure import (
    Pressure,
    Thresholds,
    admits,
    next_pressure,
    relief_of,
)

NONE, WARNING, CRITICAL, EMERGENCY = Pressure
THRESHOLDS = Thresholds()
SHARES = st.floats(0, 1.5, allow_nan=False)
MIB = 1 << 20


@pytest.fixture
def machine(tmp_path):
    """A machine of 1,000 MiB, 400 of them available, with this process in /pod/llm."""
    write(tmp_path / "proc/meminfo", "MemTotal: 1024000 kB\nMemAvailable: 409600 kB\nBad line\n")
    write(tmp_path / "proc/self/cgroup", "1:name=systemd:/x\n0::/pod/llm\n")
    return tmp_path


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def group(machine, path, limit, current, inactive=0):
    folder = machine / "sys/fs/cgroup" / path
    write(folder / "memory.max", f"{limit}\n")
    write(folder / "memory.current", f"{current}\n")
    write(folder / "memory.stat", f"anon 5\ninactive_file {inactive}\n")


def test_without_a_container_the_machine_is_the_limit(machine):
    assert MemoryReader(machine).read() == MemoryUse(600 * MIB, 1000 * MIB, "machine")
    group(machine, "pod/llm", "max", 5)
    assert MemoryReader(machine).limit() == 1000 * MIB


def test_the_limit_nearest_to_being_reached_counts_wherever_it_is_set(machine):
    group(machine, "pod/llm", 500 * MIB, 100 * MIB)
    group(machine, "pod", 300 * MIB, 270 * MIB)
    reader = MemoryReader(machine)
    assert reader.read() == MemoryUse(270 * MIB, 300 * MIB, "/pod")
    assert reader.limit() == 300 * MIB


def test_pages_of_files_that_nobody_uses_are_not_in_use(machine):
    group(machine, "pod/llm", 100 * MIB, 95 * MIB, inactive=90 * MIB)
    assert MemoryReader(machine).read().source == "machine"


def test_limits_of_the_older_cgroups_count_too(machine):
    write(machine / "proc/self/cgroup", "4:cpu,memory:/docker/abc\n0::/\n")
    above = machine / "sys/fs/cgroup/memory"  # as a container sees its own group
    write(above / "memory.limit_in_bytes", f"{200 * MIB}\n")
    write(above / "memory.usage_in_bytes", f"{190 * MIB}\n")
    write(above / "memory.stat", f"total_inactive_file {20 * MIB}\n")
    assert MemoryReader(machine).read() == MemoryUse(170 * MIB, 200 * MIB, "/")
    write(above / "memory.limit_in_bytes", "9223372036854771712\n")
    assert MemoryReader(machine).read().source == "machine"


def test_a_machine_that_tells_nothing_limits_nothing(tmp_path):
    assert MemoryReader(tmp_path).read() is None
    assert MemoryReader(tmp_path).limit() is None


def test_this_machine_can_be_read():
    use = MemoryReader().read()
    assert use is not None
    assert 0 < use.share <= 1.5


@pytest.mark.parametrize(
    ("before", "share", "after"),
    [
        (NONE, 0.69, NONE),
        (NONE, 0.70, WARNING),
        (NONE, 0.96, EMERGENCY),
        (WARNING, 0.66, WARNING),
        (WARNING, 0.64, NONE),
        (EMERGENCY, 0.91, EMERGENCY),
        (EMERGENCY, 0.89, CRITICAL),
        (EMERGENCY, 0.10, NONE),
        (CRITICAL, 0.97, EMERGENCY),
    ],
)
def test_pressure_rises_at_a_threshold_and_falls_well_below_it(before, share, after):
    assert next_pressure(before, share, THRESHOLDS) is after


@given(st.sampled_from(Pressure), SHARES)
def test_pressure_is_never_below_what_is_reached_nor_above_without_need(before, share):
    after = next_pressure(before, share, THRESHOLDS)
    reached = max(one for one in Pressure if one is NONE or share >= THRESHOLDS.of(one))
    assert reached <= after <= max(before, reached)
    assert after is reached or share >= THRESHOLDS.of(after) - THRESHOLDS.margin


@given(st.sampled_from(Pressure), SHARES)
def test_the_same_share_again_changes_nothing(before, share):
    once = next_pressure(before, share, THRESHOLDS)
    assert next_pressure(once, share, THRESHOLDS) is once


@given(st.sampled_from(Pressure), st.floats(0, 1), st.floats(0, 0.049))
def test_a_share_that_sways_by_less_than_the_margin_does_not_sway_the_pressure(before, low, sway):
    pressure, seen = before, []
    for share in [low, low + sway] * 4:
        pressure = next_pressure(pressure, share, THRESHOLDS)
        seen.append(pressure)
    assert len(set(seen[1:])) == 1, "once settled it stays"


def test_more_pressure_gives_up_more_and_lets_in_less():
    relief = [relief_of(one) for one in Pressure]
    assert relief[NONE] is None
    assert relief[WARNING].prefixes > relief[CRITICAL].prefixes == relief[EMERGENCY].prefixes == 0
    let_in = [{one for one in Priority if admits(pressure, one)} for pressure in Pressure]
    assert let_in == [
        set(Priority), set(Priority), {Priority.NORMAL, Priority.HIGH}, {Priority.HIGH},
    ]  # fmt: skip


class Memory:
    def __init__(self):
        self.share = 0.0
        self.relieved = []

    def read(self):
        return None if self.share is None else MemoryUse(int(self.share * 1000), 1000, "machine")

    async def relieve(self, pressure):
        self.relieved.append(pressure)
        if pressure is EMERGENCY:
            raise OSError("cannot")


async def test_relief_is_given_at_every_look_while_memory_is_short_and_told_of_its_end():
    memory = Memory()
    monitor = MemoryMonitor(memory.read, THRESHOLDS, memory.relieve)
    for memory.share in (0.5, 0.75, 0.75, 0.97, 0.2, 0.2, None):
        await monitor.look()
    assert memory.relieved == [WARNING, WARNING, EMERGENCY, NONE]
    assert monitor.use is None
