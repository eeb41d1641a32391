"""An import is refused before anything is fetched, or before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.alias_file import AliasFile
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.models.versions import VersionKey


@pytest.mark.parametrize("precisions", [["int8"], None])
def test_a_label_that_is_an_alias_is_refused(tmp_path: Path, precisions: list[str] | None) -> None:
    checkpoint = tmp_path / "tiny.gguf"
    if precisions is None:  # then only the checkpoint says which there will be
        write_tiny_gguf(checkpoint, Tiny(layers=1))
    store = ModelStore(tmp_path / "models")
    (store.root / "mine-int8@v2").mkdir(parents=True)
    AliasFile(store.root).move(VersionKey("mine-int8", "v2"), ["canary"])
    with pytest.raises(RouterError, match="'canary' is an alias of mine-int8") as raised:
        import_checkpoint(checkpoint, "mine@canary", store, precisions)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
    assert not list(store.root.glob("*canary*"))
