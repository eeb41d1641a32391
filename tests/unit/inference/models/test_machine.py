from __future__ import annotations

from pathlib import Path

from llmrouter.inference.models.machine import describe_machine, resident_bytes


def test_a_machine_is_its_processor_and_the_cores_given(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: A Processor \x1b[31m\nprocessor\t: 1\n")
    assert describe_machine(file).startswith("A Processor [31m, ")
    assert describe_machine(file).endswith(("core", "cores"))


def test_a_machine_that_does_not_tell_is_its_architecture(tmp_path: Path) -> None:
    assert describe_machine(tmp_path / "none").split(",")[0]


def test_memory_is_what_the_system_tells(tmp_path: Path) -> None:
    file = tmp_path / "status"
    file.write_text("VmPeak:\t 9 kB\nVmRSS:\t   1024 kB\n")
    assert resident_bytes(file) == 1024 * 1024
    assert resident_bytes(tmp_path / "none") == 0
    assert resident_bytes() > 0
