from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.inference.models.test_integrity import damage, imported
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


class Closes:
    """A backend that loads anything and notes that it was closed."""

    closed = 0

    @classmethod
    async def load(cls, folder: Path, options: BackendOptions) -> Any:
        return cls()

    async def close(self) -> None:
        type(self).closed += 1


async def test_a_model_damaged_at_equal_size_is_not_served_and_freed(tmp_path: Path) -> None:
    damage(imported(tmp_path / "a") / "tokenizer_config.json")
    registry = ModelRegistry(tmp_path, Closes, BackendOptions())  # type: ignore[arg-type]
    await registry.load(["a"])
    (held,) = registry.models
    assert held.state is LoadState.FAILED
    assert held.error.startswith("a/tokenizer_config.json: is damaged")
    assert (held.engine, Closes.closed) == (None, 1)
