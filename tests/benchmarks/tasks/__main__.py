"""`python -m tests.benchmarks.tasks` writes `train.jsonl` and `test.jsonl` beside this file."""

import json
from pathlib import Path

from tests.benchmarks.tasks.split import SPLIT, make


def main():
    for split in SPLIT:
        lines = [json.dumps(task) for task in make(split)]
        (Path(__file__).parent / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
