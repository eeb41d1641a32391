"""The files and folders that are damaged, by name."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.fuzz.damage import damaged

__all__ = ["ROOT", "broken_copy", "seeds"]

ROOT = Path(__file__).parent / "seeds"


def seeds() -> list[str]:
    """Return the names: `format/name`."""
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("*/*"))


def broken_copy(seed: str, number: int, target: Path) -> None:
    """Write a damaged copy of a seed to `target`; number 0 damages nothing."""
    source = ROOT / seed
    if source.is_file():
        content = source.read_bytes()
        others = [one.read_bytes() for one in sorted(source.parent.iterdir()) if one != source]
        target.write_bytes(damaged(content, number, seed, others) if number else content)
        return
    shutil.copytree(source, target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    if number:
        file = files[number % len(files)]
        others = [one.read_bytes() for one in files if one != file]
        name = f"{seed}/{file.relative_to(target).as_posix()}"
        file.write_bytes(damaged(file.read_bytes(), number, name, others))
