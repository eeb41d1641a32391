"""What drawing one token costs, in microseconds of CPU time: runs `native/sampling.cc`."""

from tests.benchmarks.native_program import run_native
from tests.benchmarks.report import Report

ROUNDS = 3
TARGETS = {
    "top_k_top_p_penalties_49152": ("at_most", 60.0),
    "top_k_top_p_penalties_128256": ("at_most", 150.0),
}


def run():
    """Return the lowest median of a few rounds per figure: what else runs only adds to it."""
    found = run_native("sampling_benchmark", ROUNDS)
    return Report("sampling", {name: min(values) for name, values in found.items()}, TARGETS)
