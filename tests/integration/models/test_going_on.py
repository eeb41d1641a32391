"""An import that was killed goes on with the tensors that are whole; the outcome is the same."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.models.tiny_decoder import DECODERS, random_weights
from tests.integration.models.writing_folder import write_folder
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf

from llmrouter.common.sizes import size_text
from llmrouter.inference.importers.gguf_tensors import GgufTensors
from llmrouter.inference.importers.huggingface_tensors import HuggingFaceTensors
from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.card import CARD_FILE
from llmrouter.inference.models.checksum import file_checksums
from llmrouter.inference.models.progress import Tell, unheard
from llmrouter.inference.models.store import ModelStore

LAYERS = 4


def write_source(place: Path, kind: str, seed: int = 5) -> Path:
    if kind == "gguf":
        write_tiny_gguf(place / "tiny.gguf", Tiny(layers=LAYERS), seed=seed)
        return place / "tiny.gguf"
    decoder = replace(DECODERS["qwen2"], layers=LAYERS)
    write_folder(place / "folder", decoder, random_weights(decoder), "BF16")
    return place / "folder"


def kill(source: Path, store: ModelStore, stage: str, count: int, precisions: str = "int8") -> None:
    """Import until `count` of a stage are done, and leave whatever there is then."""
    arguments = [str(source), str(store.root), precisions, stage, str(count)]
    command = [sys.executable, "-m", "tests.integration.models.killed_import", *arguments]
    died = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr


def hidden(store: ModelStore) -> list[Path]:
    return [one for one in store.root.iterdir() if one.name.startswith(".")]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The layers of which whole matrices are read from here on."""
    layers: set[str] = set()
    for kind in (GgufTensors, HuggingFaceTensors):
        rows = kind.rows

        def noted(self, name, start, stop, rows=rows):
            layers.add(".".join(name.split(".")[:2]))
            return rows(self, name, start, stop)

        monkeypatch.setattr(kind, "rows", noted)
    return layers


def whole_import(
    source: Path, store: ModelStore, *precisions: str, tell: Tell = unheard
) -> dict[str, str]:
    made = import_checkpoint(source, "tiny", store, precisions or ["int8"], tell=tell)
    return file_checksums(made[0].path)


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("gguf", "int8"), ("gguf", "int4"), ("gguf", "fp32"), ("huggingface", "int4")],
)
def test_what_a_kill_leaves_is_gone_on_with(
    tmp_path: Path, read: set[str], kind: str, precision: str
) -> None:
    source = write_source(tmp_path, kind)
    expected = whole_import(source, ModelStore(tmp_path / "whole"), precision)
    store = ModelStore(tmp_path / "store")
    kill(source, store, f"convert to {precision}", 2, precision)
    assert store.names() == []
    assert len(hidden(store)) >= 1
    read.clear()
    # Measured against unquantised weights, which nobody has begun: those read everything.
    told: list[str] = []
    found = whole_import(source, store, precision, tell=told.append)
    assert told[0].startswith(f"going on with tiny-{precision}: ")
    assert found == expected
    assert hidden(store) == []
    if precision == "fp32":
        assert read == {"blk.2", "blk.3"}


def test_the_weights_that_are_measured_against_are_gone_on_with_too(
    tmp_path: Path, read: set[str]
) -> None:
    source = write_source(tmp_path, "gguf")
    expected = whole_import(source, ModelStore(tmp_path / "whole"))
    store = ModelStore(tmp_path / "store")
    kill(source, store, "convert to fp32", 3)
    read.clear()
    assert whole_import(source, store) == expected
    assert read == {"blk.3"}, "of the quantised ones all was whole"
    assert hidden(store) == []


def test_a_second_kill_further_on_is_gone_on_with(tmp_path: Path, read: set[str]) -> None:
    source = write_source(tmp_path, "gguf")
    expected = whole_import(source, ModelStore(tmp_path / "whole"), "fp32")
    store = ModelStore(tmp_path / "store")
    for count in (1, 3):
        kill(source, store, "convert to fp32", count, "fp32")
    read.clear()
    assert whole_import(source, store, "fp32") == expected
    assert read == {"blk.3"}


@pytest.mark.parametrize(
    ("stage", "left"), [("card", ".llmrouter.json.part"), ("flush", CARD_FILE)]
)
def test_a_kill_once_the_weights_are_whole_leaves_nothing_in_the_model(
    tmp_path: Path, read: set[str], stage: str, left: str
) -> None:
    source = write_source(tmp_path, "gguf")
    expected = whole_import(source, ModelStore(tmp_path / "whole"), "fp32")
    store = ModelStore(tmp_path / "store")
    kill(source, store, stage, 0, "fp32")
    [partial] = [one for one in hidden(store) if (one / "journal").exists()]
    assert (partial / "model" / left).exists()
    read.clear()
    assert whole_import(source, store, "fp32") == expected
    assert read == set()
    assert hidden(store) == []


def test_another_source_begins_anew_and_clears_what_was_left(
    tmp_path: Path, read: set[str]
) -> None:
    source, store = write_source(tmp_path, "gguf"), ModelStore(tmp_path / "store")
    kill(source, store, "convert to fp32", 2, "fp32")
    write_source(tmp_path, "gguf", seed=6)
    expected = whole_import(source, ModelStore(tmp_path / "whole"), "fp32")
    read.clear()
    assert whole_import(source, store, "fp32") == expected
    assert len(read - {"token_embd.weight"}) == LAYERS
    assert hidden(store) == []


def test_another_precision_begins_anew_and_clears_what_was_left(
    tmp_path: Path, read: set[str]
) -> None:
    source, store = write_source(tmp_path, "gguf"), ModelStore(tmp_path / "store")
    kill(source, store, "convert to int8", 2)
    read.clear()
    assert whole_import(source, store, "fp32")
    assert len(read - {"token_embd.weight"}) == LAYERS
    assert hidden(store) == []


def test_a_damaged_file_begins_anew(tmp_path: Path, read: set[str]) -> None:
    source, store = write_source(tmp_path, "gguf"), ModelStore(tmp_path / "store")
    expected = whole_import(source, ModelStore(tmp_path / "whole"), "fp32")
    kill(source, store, "convert to fp32", 2, "fp32")
    [partial] = [one for one in hidden(store) if (one / "journal").exists()]
    damaged = bytearray((partial / "model/model.onnx.data").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (partial / "model/model.onnx.data").write_bytes(damaged)
    (partial / "model/tokenizer.json").write_text("damaged")
    read.clear()
    assert whole_import(source, store, "fp32") == expected
    assert len(read - {"token_embd.weight"}) == LAYERS


def test_who_interrupts_is_told_that_it_goes_on_and_the_next_that_it_does(tmp_path: Path) -> None:
    source, store = write_source(tmp_path, "gguf"), ModelStore(tmp_path / "store")
    told: list[str] = []

    def interrupt(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("convert to fp32", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_checkpoint(source, "tiny", store, ["int8"], interrupt, tell=told.append)
    assert told == ["interrupted; the same command goes on from here"]
    told.clear()
    (made,) = import_checkpoint(source, "tiny", store, ["int8"], tell=told.append)
    size = size_text((made.path / "model.onnx.data").stat().st_size)
    assert told[0] == f"going on with tiny-int8: {size} are there already"
    assert re.fullmatch(r"going on with the weights to measure by: .* [kM]?B .*", told[1])
    assert len(told) == 2


def test_who_imports_the_same_at_once_is_told(tmp_path: Path) -> None:
    source, store = write_source(tmp_path, "gguf"), ModelStore(tmp_path / "store")
    told: list[str] = []

    def begun(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("convert to fp32", 1):
            import_checkpoint(source, "tiny", store, ["fp32"], tell=told.append)

    import_checkpoint(source, "tiny", store, ["fp32"], begun, tell=told.append)
    assert told == ["another import of tiny-fp32 is under way; this one begins anew beside it"]


def test_a_load_is_not_disturbed_by_what_a_kill_left(tmp_path: Path) -> None:
    source, store = write_source(tmp_path, "gguf"), ModelStore(tmp_path / "store")
    kill(source, store, "convert to int8", 2)
    store.recover()
    assert len(hidden(store)) == 1, "a service that starts leaves it to the next import"
    assert store.names() == []
