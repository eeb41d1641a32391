"""What products with quantised matrices reach, in 1e9 multiplications a second and thread.

Runs `native/products.cc`: each way this processor has to compute them, by rows at once, for a
matrix that lies in a cache (`layer`) and one that lies in memory (`head`).
"""

from tests.benchmarks.native_program import run_native
from tests.benchmarks.report import Report

ROUNDS = 3


def run():
    """Return the best of a few rounds per figure: what else runs only takes from it."""
    found = run_native("products_benchmark", ROUNDS)
    return Report("products", {name: max(values) for name, values in found.items()})
