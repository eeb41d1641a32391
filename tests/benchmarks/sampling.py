"""What drawing one token costs, in microseconds of CPU time: runs `native/sampling.cc`."""

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.report import Report

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/benchmarks"
ROUNDS = 3
TARGETS = {
    "top_k_top_p_penalties_49152": ("at_most", 60.0),
    "top_k_top_p_penalties_128256": ("at_most", 150.0),
}


def run():
    """Return the lowest median of a few rounds per figure: what else runs only adds to it."""
    cmake = str(Path(sys.executable).parent / "cmake")
    options = ["-G", "Ninja", "-DLLMROUTER_BUILD_BENCHMARKS=ON", "-DCMAKE_BUILD_TYPE=Release"]
    subprocess.run([cmake, "-S", str(ROOT), "-B", str(BUILD), *options], check=True)
    subprocess.run([cmake, "--build", str(BUILD), "--target", "sampling_benchmark"], check=True)
    figures = {}
    for _ in range(ROUNDS):
        program = BUILD / "tests/benchmarks/native/sampling_benchmark"
        told = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        for name, value in (line.split() for line in told.splitlines()):
            figures[name] = min(float(value), figures.get(name, float("inf")))
    return Report("sampling", figures, TARGETS)
