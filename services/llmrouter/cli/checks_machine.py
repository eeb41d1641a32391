"""Checks of the machine and of what is installed on it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from llmrouter.cli.findings import Finding, State
from llmrouter.common.errors import RouterError
from llmrouter.common.sizes import size_text

__all__ = ["check_engine", "check_packages", "check_space", "nearest"]

_MIN_SPACE = 2 << 30
"""Bytes that a pull of the demo's three models and a disk cache take at least."""


def check_packages() -> Iterator[Finding]:
    """Compare what is installed with what this version needs."""
    wrong = []
    for text in metadata.requires("llmrouter") or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(needed.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{needed.name} is not installed")
            continue
        if not needed.specifier.contains(found, prereleases=True):
            wrong.append(f"{needed.name} is {found}, needed is {needed.specifier}")
    mine = metadata.version("llmrouter")
    if wrong:
        remedy = f"pip install 'llmrouter=={mine}' again"
        yield Finding("packages", State.FAILED, "; ".join(wrong), remedy)
    else:
        said = f"llmrouter {mine} with all that it needs, Python {platform.python_version()}"
        yield Finding("packages", State.OK, said)


def check_engine() -> Iterator[Finding]:
    """Look at the compiled engine, ONNX Runtime, the processor and GPUs."""
    from llmrouter.inference.backends.survey import survey

    try:
        found = survey()
    except ImportError as error:
        sentence = f"the compiled engine cannot be loaded: {error}"
        yield Finding("engine", State.FAILED, sentence, "install llmrouter again: make install")
        return
    except RouterError as error:
        yield Finding("engine", State.FAILED, error.message, "pip install 'llmrouter[cpu]'")
        return
    yield Finding("engine", State.OK, f"ONNX Runtime at {found.library}")
    if found.avx2:
        how = "AVX-512 VNNI" if found.avx512_vnni else "AVX2"
        yield Finding("processor", State.OK, f"{found.cores} cores, kernels of our own with {how}")
    else:
        sentence = f"{found.cores} cores without AVX2: ONNX Runtime computes, which is slower"
        yield Finding("processor", State.NOTE, sentence)
    if found.gpu:
        yield Finding("gpu", State.OK, "ONNX Runtime can compute on CUDA")
    else:
        sentence = "ONNX Runtime finds none to compute on; models run on the processor"
        remedy = "where there is one: pip install 'llmrouter[gpu]'"
        yield Finding("gpu", State.NOTE, sentence, remedy)
    if not found.structured_output:
        sentence = "llguidance is not installed: answers cannot be held to a format"
        yield Finding("formats", State.WARNING, sentence, "pip install llguidance")


def check_space(folder: Path) -> Iterator[Finding]:
    """Look whether there is room for models and answers."""
    there = nearest(folder)
    free = shutil.disk_usage(there).free
    said = f"{size_text(free)} free at {there}"
    if free < _MIN_SPACE:
        remedy = "free some, or let XDG_DATA_HOME or inference.store lead to another disk"
        yield Finding("disk", State.WARNING, said, remedy)
    else:
        yield Finding("disk", State.OK, said)


def nearest(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there: it would be made in that."""
    path = folder.absolute()
    return next(one for one in (path, *path.parents) if _exists(one))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False  # as far as we are concerned
