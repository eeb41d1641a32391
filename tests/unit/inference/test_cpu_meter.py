from __future__ import annotations

from llmrouter.inference.cpu_meter import CpuMeter


def test_the_share_is_that_of_all_cores_since_the_look_before() -> None:
    now, used = [100.0], [7.0]
    meter = CpuMeter(4, lambda: used[0], lambda: now[0])
    assert meter.share() == 0
    now[0], used[0] = 102.0, 11.0
    assert meter.share() == 0.5
    now[0], used[0] = 102.5, 99.0
    assert meter.share() == 0.5, "looks close together tell the same"
    now[0] = 103.0
    assert meter.share() == 1
