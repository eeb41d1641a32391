"""Which store of models a command means: the one named, else that of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrouter.common.settings import data_directory, load_config, parse

if TYPE_CHECKING:
    from llmrouter.inference.models.store import ModelStore

__all__ = ["StorePath", "existing_store", "open_store"]

StorePath = Annotated[
    Path | None,
    typer.Option("--store", help="Folder that holds the models; by default as the settings say."),
]


def open_store(path: Path | None, config: Path | None = None) -> ModelStore:
    """Return the store at `path`, else `inference.store` of the settings, else the default one.

    Args:
        path: What `--store` says.
        config: What `--config` says; None for LLMROUTER_CONFIG.

    Raises:
        ConfigError: The settings are wrong.
    """
    from llmrouter.inference.models.store import ModelStore
    from llmrouter.inference.settings import InferenceSettings

    if path is None:
        given = load_config(config)
        section = given.get("inference")
        path = parse(InferenceSettings, section, "inference", files=given.files).store
    return ModelStore(path or data_directory() / "models")


def existing_store(path: Path | None) -> ModelStore:
    """Return a store to read, put in order; one that is named has to be there."""
    if path is not None and not path.is_dir():
        raise typer.BadParameter(f"{path} is not a folder", param_hint="--store")
    store = open_store(path)
    store.recover()
    return store
