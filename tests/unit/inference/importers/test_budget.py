"""What a precision takes in memory is told before it is written, and the highest that fits wins."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.models.tiny_decoder import DECODERS, random_weights
from tests.integration.models.writing_folder import write_folder
from tests.unit.inference.importers.tiny_gguf import write_tiny_gguf
from tests.unit.inference.models.fake_backend import FakeBackends

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.importers import rope, run
from llmrouter.inference.importers.architecture import Architecture
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.bit_plan import planned_bits
from llmrouter.inference.importers.budget import Budget, Choice, choose
from llmrouter.inference.importers.footprint import Footprint
from llmrouter.inference.importers.gguf import GgufImporter
from llmrouter.inference.importers.graph import graph_bytes
from llmrouter.inference.importers.huggingface import HuggingFaceImporter
from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.importers.tensors import Blocks, Floats
from llmrouter.inference.models import catalog
from llmrouter.inference.models.catalog import CatalogEntry
from llmrouter.inference.models.counted import Counted, count
from llmrouter.inference.models.lifecycle import ResidencyOptions
from llmrouter.inference.models.progress import Progress, silent
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.models.sources.base import Fetched
from llmrouter.inference.models.store import ModelStore

DEMO = Architecture(
    name="llama", vocab_size=49152, context=8192, layers=30, hidden=576, feed_forward=1536,
    heads=9, kv_heads=3, head_size=64, rope=rope.plain(10_000.0, 64), norm_epsilon=1e-5,
    rope_interleaved=True, tied=True, bos_token_id=1, eos_token_ids=(2,), pad_token_id=2,
)  # fmt: skip


class Vectors:
    """The tensors of the demo model, of which only vectors may be read."""

    def vector(self, name: str) -> Floats:
        return np.ones(576, np.float32)

    def rows(self, name: str, start: int, stop: int) -> Floats:
        raise AssertionError("no matrix is read")

    def blocks(self, name: str, start: int, stop: int) -> Blocks | None:
        return None


@dataclass(frozen=True)
class Stated:
    """A checkpoint of which nothing is known but its sizes."""

    sizes: dict[str, int]

    @property
    def precisions(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def footprints(self, cache_tokens: int | None, options: BackendOptions) -> list[Footprint]:
        held = options.cache_bytes if cache_tokens is None else cache_tokens
        return [Footprint(one, Counted(size, cache=held)) for one, size in self.sizes.items()]

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        raise AssertionError("nothing is converted here")


SIZES = Stated({"int8": 350, "int4": 280, "fp32": 1400})


@pytest.mark.parametrize(
    ("size", "expected"), [(1599, "fp32"), (1598, "int8"), (399, "int8"), (398, "int4")]
)
def test_the_highest_precision_that_fits_is_chosen(size: int, expected: str) -> None:
    choice = choose(SIZES, Budget(size))
    assert choice.precision == expected
    assert [one.precision for one in choice.footprints] == ["fp32", "int8", "int4"]


def test_a_smaller_cache_leaves_room_for_a_higher_precision() -> None:
    assert choose(SIZES, Budget(1598)).precision == "int8"
    assert choose(SIZES, Budget(1598, cache_tokens=50)).precision == "fp32"
    smaller = BackendOptions(cache_bytes=50)
    assert choose(SIZES, Budget(1598, options=smaller)).precision == "fp32"


def test_a_budget_that_nothing_fits_is_refused_with_the_arithmetic() -> None:
    told = r"is 312 B; int4 takes 319 B: weights 280 B, .* cache 39 B"
    with pytest.raises(RouterError, match=told) as raised:
        choose(SIZES, Budget(312))
    assert raised.value.reason is Reason.INVALID_ARGUMENT


def test_a_budget_that_nothing_fits_is_refused_in_units_of_people() -> None:
    large = Stated({"int8": 1_900_000_000, "int4": 875_000_039, "fp32": 7_500_000_000})
    with pytest.raises(RouterError, match=r"is 800 MB; int4 takes 975 MB: weights 875 MB, "):
        choose(large, Budget(800_000_000))
    with pytest.raises(RouterError, match=r"is 1,000,000,000 B; int4 takes 1,000,000,039 B: "):
        choose(large, Budget(10**9))


def test_the_weights_of_the_demo_model_are_those_of_its_files() -> None:
    for precision, size in (("int8", 153_509_888), ("int4", 120_283_136), ("fp32", 540_016_640)):
        planned = graph_bytes(DEMO, Vectors(), precision)
        assert 0 <= planned - size < 2**20, "the graph itself comes to it"


def test_at_four_bits_the_feed_forward_of_inner_layers_is() -> None:
    def four(part: str, layers: int) -> list[int]:
        return [at for at in range(layers) if planned_bits("int4", part, at, layers) == 4]

    assert four("ffn_down", 30) == list(range(2, 28))
    assert four("ffn_up", 24) == list(range(2, 22))
    assert four("ffn_gate", 2) == [0, 1], "a small model has no layers to spare"
    assert four("attn_q", 30) == []
    assert planned_bits("int8", "ffn_up", 5, 30) == 8


@given(context=st.integers(1, 1 << 17), layers=st.integers(1, 8), tied=st.booleans())
def test_a_higher_precision_is_never_smaller(context: int, layers: int, tied: bool) -> None:
    model = replace(DEMO, context=context, layers=layers, tied=tied)
    sizes = [graph_bytes(model, Vectors(), one) for one in ("int4", "int8", "fp32")]
    assert sizes == sorted(sizes)


def test_an_import_takes_what_fits_and_tells_why(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf")
    source = GgufImporter.open(tmp_path / "tiny.gguf")
    planned = {one.precision: one.total for one in source.footprints(16, BackendOptions())}
    told: list[Choice] = []
    made = import_checkpoint(
        tmp_path / "tiny.gguf", "tiny", ModelStore(tmp_path / "store"), ["auto"], silent, None,
        Budget(planned["int8"], cache_tokens=16), told.append,
    )  # fmt: skip
    assert [one.path.name for one in made] == ["tiny-int8"]
    assert [one.precision for one in told] == ["int8"]


def write_source(place: Path, kind: str) -> Path:
    """Write a checkpoint of one of the formats that tell what they will count for."""
    if kind == "gguf":
        write_tiny_gguf(place / "tiny.gguf")
        return place / "tiny.gguf"
    decoder = DECODERS["qwen3"]
    write_folder(place / "folder", decoder, random_weights(decoder), "BF16")
    return place / "folder"


@pytest.mark.parametrize("kind", ["gguf", "huggingface"])
async def test_what_fits_by_auto_is_what_a_service_with_that_memory_loads(
    tmp_path: Path, kind: str
) -> None:
    source = write_source(tmp_path, kind)
    options = BackendOptions(slots=2, cache_bytes=1 << 16)
    importer = GgufImporter if kind == "gguf" else HuggingFaceImporter
    planned = importer.open(source).footprints(None, options)
    assert [one.precision for one in planned] == ["int8", "int4", "fp32"]
    card = int(1.4 * (16 << 10))
    for one in planned:
        store = ModelStore(tmp_path / one.precision)
        [made] = import_checkpoint(source, "tiny", store, [one.precision])
        counted = count(made, options)
        assert 0 <= one.counted.weights - counted.weights <= card, "all but the card is known"
        assert replace(one.counted, weights=0) == replace(counted, weights=0)
        backends = FakeBackends()
        for memory, loaded in ((one.total, [made.path.name]), (counted.total - 1, [])):
            residency = ResidencyOptions(memory_bytes=memory)
            registry = ModelRegistry(store.root, backends, options, residency=residency)
            await registry.start()
            assert backends.names() == loaded
            await registry.close()


class Unfetched:
    """A source that fails the test when anything is fetched of it."""

    def fetched(self, downloads: Path, progress: Progress) -> AbstractContextManager[Fetched]:
        raise AssertionError("fetched for nothing")


@pytest.mark.parametrize("precisions", [["auto"], ["int8", "auto"]])
def test_auto_without_a_budget_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precisions: list[str]
) -> None:
    monkeypatch.setattr(catalog, "CATALOG", (CatalogEntry("tiny", Unfetched(), "", ("int8",)),))
    store = ModelStore(tmp_path / "s")
    with pytest.raises(RouterError, match="'auto' needs a memory budget; give one or name"):
        run.pull("tiny", store, precisions)
    with pytest.raises(RouterError, match="'auto' needs a memory budget; give one or name"):
        run.import_from(Unfetched(), "tiny", store, precisions)


def test_what_no_checkpoint_becomes_is_refused_beside_auto_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "CATALOG", (CatalogEntry("tiny", Unfetched(), "", ("int8",)),))
    with pytest.raises(RouterError, match="'int5' cannot be had; one of"):
        run.pull("tiny", ModelStore(tmp_path / "s"), ["auto", "int5"], budget=Budget(2**30))
