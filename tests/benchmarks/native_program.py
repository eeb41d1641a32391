"""Builds and runs the benchmarks in `native/`, which print `name value` lines."""

import subprocess
import sys
from pathlib import Path

__all__ = ["run_native"]

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/benchmarks"


def run_native(target, rounds):
    """Return the values of each figure, one per round."""
    cmake = str(Path(sys.executable).parent / "cmake")
    options = ["-G", "Ninja", "-DLLMROUTER_BUILD_BENCHMARKS=ON", "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run([cmake, "-S", str(ROOT), "-B", str(BUILD), *options], check=True)
    subprocess.run([cmake, "--build", str(BUILD), "--target", target], check=True)
    figures = {}
    for _ in range(rounds):
        program = BUILD / "tests/benchmarks/native" / target
        told = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        for name, value in (line.split() for line in told.splitlines()):
            figures.setdefault(name, []).append(float(value))
    return figures
