"""A Dockerfile and a .dockerignore read as far as ours go, so that they can be tried by hand."""

from __future__ import annotations

import fnmatch
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]


@dataclass
class Stage:
    """One `FROM` and what follows it."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def of(self, keyword):
        return [value for key, value in self.instructions if key == keyword]


def stages():
    """Return the stages of the Dockerfile by name, in order."""
    text = "\n".join(
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")
    )
    made = {}
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword == "FROM":
            base, _, name = value.partition(" AS ")
            made[name] = current = Stage(base, name)
        elif keyword and made:
            current.instructions.append((keyword, value.strip()))
    return made


def lineage(name):
    """Return the stages that one is built on, the first one first, and itself."""
    known, line = stages(), []
    while name in known:
        line.insert(0, known[name])
        name = known[name].base
    return line


def environment(name):
    """Return the variables that a container of a stage has."""
    found = {}
    for stage in lineage(name):
        for value in stage.of("ENV"):
            found |= dict(pair.split("=", 1) for pair in shlex.split(value))
    return found


def ignored(path, patterns):
    """Whether a path of the working tree stays out of the build: the last pattern that fits."""
    out = False
    for pattern in patterns:
        negated, bare = pattern.startswith("!"), pattern.removeprefix("!")
        if _fits(path, bare):
            out = not negated
    return out


def _fits(path, pattern):
    parts = path.split("/")
    heads = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
    return any(
        fnmatch.fnmatchcase(head, pattern) and head.count("/") == pattern.count("/")
        for head in heads
    )


def build_context():
    """Return the files that a build sees, as paths below the root."""
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    tops = [path for path in ROOT.iterdir() if path.name not in (".git", ".venv", "build")]
    files = [file for top in tops for file in ([top] if top.is_file() else top.rglob("*"))]
    names = [str(file.relative_to(ROOT)) for file in files if file.is_file()]
    return sorted(name for name in names if not ignored(name, patterns))
