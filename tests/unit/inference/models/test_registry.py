from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.inference.models.tiny_folder import write_tiny_folder

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.models.registry import LoadState, ModelRegistry


class BreaksOnOne:
    """A backend whose library raises what nobody expected of one folder."""

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> Any:
        if folder.name == "broken":
            raise TypeError("a surrogate, say")
        return cls()


async def test_a_folder_that_breaks_its_reader_fails_alone(tmp_path: Path) -> None:
    for name in ("broken", "sound"):
        write_tiny_folder(tmp_path / name)
    registry = ModelRegistry(tmp_path, BreaksOnOne, BackendOptions())  # type: ignore[arg-type]
    await registry.load(["broken", "sound"])
    broken, sound = registry.models
    assert (broken.state, sound.state) == (LoadState.FAILED, LoadState.READY)
    assert "TypeError" in broken.error
    assert "surrogate" not in broken.error
