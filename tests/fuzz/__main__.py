"""`python -m tests.fuzz`: damages the seeds in new ways until the time is over.

What did harm is kept in `build/fuzz`; once it is mended, it belongs into `tests/fuzz/seeds`.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import time
from pathlib import Path

from tests.fuzz.seeds import broken_copy, seeds
from tests.fuzz.trying import try_seed

_AT_ONCE = 100
_KEPT = Path("build/fuzz")


def main() -> int:
    """Return 1 if anything did harm."""
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("--seconds", type=float, default=60.0, help="how long; 60 by default")
    asked.add_argument("--only", default="", help="seeds whose name begins so, such as gguf/")
    given = asked.parse_args()
    chosen = [one for one in seeds() if one.startswith(given.only)]
    end, tried, harms = time.monotonic() + given.seconds, 0, []
    while chosen and time.monotonic() < end:
        seed, first = secrets.choice(chosen), 1000 + secrets.randbelow(10**9)
        found = try_seed(seed, first, first + _AT_ONCE)
        tried += _AT_ONCE
        for harm in found:
            name = f"{seed.replace('/', '-')}-{harm.number}"
            sys.stdout.write(f"{name}: {harm.fault}\n")
            _KEPT.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(_KEPT / name, ignore_errors=True)
            broken_copy(seed, harm.number, _KEPT / name)
        harms += found
    sys.stdout.write(f"{tried} damaged copies of {len(chosen)} seeds, {len(harms)} did harm\n")
    return 1 if harms else 0


if __name__ == "__main__":
    sys.exit(main())
