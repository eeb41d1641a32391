"""Which families a router learns from, and which it is tested on.

Families, not tasks, are split. Those written first were split by hand; of those written later, a
draw that knows nothing but their names halves each kind: arithmetic, functions, names and lines.
"""

import inspect
import random

from tests.benchmarks.tasks import families, families_code, families_numbers, families_words

LATER = (families_numbers, families_code, families_words)


def _halves(module):
    made = {
        name.replace("_", "-"): make
        for name, make in inspect.getmembers(module, inspect.isfunction)
        if make.__module__ == module.__name__
    }
    drawn = sorted(made)
    random.Random(module.__name__).shuffle(drawn)  # noqa: S311 - no secret
    half = len(drawn) // 2
    for split, names in (("train", drawn[:half]), ("test", drawn[half:])):
        yield split, {name: made[name] for name in sorted(names)}


SPLIT = {split: dict(first) for split, first in families.SPLIT.items()}
"""By `train` and `test`: the functions that return a family's tasks, by the family's name."""
for _module in LATER:
    for _split, _families in _halves(_module):
        SPLIT[_split] |= _families


def make(split):
    """All tasks of `train` or `test`, family after family."""
    found = []
    for family, tasks in SPLIT[split].items():
        for place, task in enumerate(tasks(random.Random(family)), start=1):  # noqa: S311 - no secret
            found.append({"id": f"{family}-{place}", "family": family, **task})
    return found
