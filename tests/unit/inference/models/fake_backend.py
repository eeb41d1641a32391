"""A backend whose loads a test can hold, break and count, and a store of folders for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.unit.inference.models.tiny_folder import write_tiny_folder

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import RequestContext
from llmrouter.inference.backends.base import BackendOptions, BackendStatistics
from llmrouter.inference.models.card import ModelCard, Source, write_card
from llmrouter.inference.models.lifecycle import ResidencyOptions
from llmrouter.inference.models.registry import ModelRegistry

WHO = RequestContext("r")
PROMPTLY = ResidencyOptions(notice_seconds=0, drain_seconds=5)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeBackends:
    """What stands for the class of a backend; keeps what was loaded, closed and forgotten."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.options: list[BackendOptions] = []
        self.open: list[FakeBackend] = []
        self.most_open = 0
        self.broken: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, folder: Path, options: BackendOptions) -> FakeBackend:
        self.loads.append(folder.name)
        self.options.append(options)
        await asyncio.sleep(0)
        await self.gate.wait()
        if folder.name in self.broken:
            raise RouterError(Reason.MODEL_UNAVAILABLE, f"{folder}: is broken")
        backend = FakeBackend(self, folder.name)
        self.open.append(backend)
        self.most_open = max(self.most_open, len(self.open))
        return backend

    def honours(self) -> frozenset[str]:
        return frozenset({"seed"})

    def names(self) -> list[str]:
        return sorted(one.name for one in self.open)


class FakeBackend:
    context = 128

    def __init__(self, backends: FakeBackends, name: str) -> None:
        self._backends, self.name = backends, name
        self.kept = 1 << 30

    def statistics(self) -> BackendStatistics:
        return BackendStatistics()

    def forget_prefixes(self, keep_bytes: int) -> None:
        self.kept = keep_bytes

    async def close(self) -> None:
        await asyncio.sleep(0)
        with suppress(ValueError):
            self._backends.open.remove(self)


def put(store: Path, folder: str, version: str = "") -> Path:
    """Write a version; its fingerprint is its folder's name unless given."""
    path = write_tiny_folder(store / folder)
    card = ModelCard(
        name=folder,
        version=version or f"v-{folder}"[:64],
        architecture="llama",
        parameters=1,
        precision="fp32",
        context=128,
        licence="MIT",
        source=Source("here", "0" * 64),
    )
    write_card(card, path)
    return path


def registry_of(store: Path, backends: FakeBackends, **options: Any) -> ModelRegistry:
    options.setdefault("residency", PROMPTLY)
    # What a model counts for then is told by `size_of_one`.
    running = BackendOptions(slots=1, prefix_bytes=0, parked_bytes=0, workspace_bytes=1)
    return ModelRegistry(store, backends, running, **options)  # type: ignore[arg-type]
