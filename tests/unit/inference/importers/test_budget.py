"""What a precision takes in memory is told from the shape alone, and the highest that fits wins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.importers.tiny_gguf import write_tiny_gguf

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers import rope
from llmrouter.inference.importers.architecture import Architecture
from llmrouter.inference.importers.base import Converted
from llmrouter.inference.importers.bit_plan import planned_bits
from llmrouter.inference.importers.budget import Budget, Choice, choose
from llmrouter.inference.importers.footprint import Footprint, footprint
from llmrouter.inference.importers.gguf import GgufImporter
from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.progress import Progress, silent
from llmrouter.inference.models.store import ModelStore

DEMO = Architecture(
    name="llama", vocab_size=49152, context=8192, layers=30, hidden=576, feed_forward=1536,
    heads=9, kv_heads=3, head_size=64, rope=rope.plain(10_000.0, 64), norm_epsilon=1e-5,
    rope_interleaved=True, tied=True, bos_token_id=1, eos_token_ids=(2,), pad_token_id=2,
)  # fmt: skip


@dataclass(frozen=True)
class Stated:
    """A checkpoint of which nothing is known but its sizes."""

    sizes: dict[str, int]

    @property
    def precisions(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def footprint(self, precision: str, cache_tokens: int | None) -> Footprint:
        return Footprint(precision, self.sizes[precision], 0, cache_tokens or 100, 0)

    def convert(self, target: Path, precision: str, progress: Progress) -> Converted:
        raise AssertionError("nothing is converted here")


SIZES = Stated({"int8": 300, "int4": 200, "fp32": 1000})


@pytest.mark.parametrize(
    ("size", "expected"), [(1100, "fp32"), (1099, "int8"), (400, "int8"), (399, "int4")]
)
def test_the_highest_precision_that_fits_is_chosen(size: int, expected: str) -> None:
    choice = choose(SIZES, Budget(size))
    assert choice.precision == expected
    assert [one.precision for one in choice.footprints] == ["fp32", "int8", "int4"]


def test_a_smaller_cache_leaves_room_for_a_higher_precision() -> None:
    assert choose(SIZES, Budget(1099)).precision == "int8"
    assert choose(SIZES, Budget(1099, cache_tokens=50)).precision == "fp32"


def test_a_budget_that_nothing_fits_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(RouterError, match=r"int4 takes 300: weights 200, .* cache 100") as raised:
        choose(SIZES, Budget(299))
    assert raised.value.reason is Reason.INVALID_ARGUMENT


def test_the_weights_of_the_demo_model_are_those_of_its_files() -> None:
    for precision, size in (("int8", 153_509_888), ("int4", 120_283_136), ("fp32", 540_016_640)):
        told = footprint(DEMO, precision, 1).weights
        assert 0.99 * size < told <= size


def test_at_four_bits_the_feed_forward_of_inner_layers_is() -> None:
    def four(part: str, layers: int) -> list[int]:
        return [at for at in range(layers) if planned_bits("int4", part, at, layers) == 4]

    assert four("ffn_down", 30) == list(range(2, 28))
    assert four("ffn_up", 24) == list(range(2, 22))
    assert four("ffn_gate", 2) == [0, 1], "a small model has no layers to spare"
    assert four("attn_q", 30) == []
    assert planned_bits("int8", "ffn_up", 5, 30) == 8


def test_every_token_held_takes_its_keys_and_values() -> None:
    one, two = (footprint(DEMO, "int8", count).cache for count in (1, 2))
    assert one == two - one == 2 * 30 * 3 * 64 * 4


@given(context=st.integers(1, 1 << 17), layers=st.integers(1, 128), tied=st.booleans())
def test_a_higher_precision_never_takes_less(context: int, layers: int, tied: bool) -> None:
    model = replace(DEMO, context=context, layers=layers, tied=tied)
    totals = [footprint(model, one, context).total for one in ("int4", "int8", "fp32")]
    assert totals == sorted(totals)


def test_an_import_takes_what_fits_and_tells_why(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf")
    source = GgufImporter.open(tmp_path / "tiny.gguf")
    size = source.footprint("int8", 16).total
    told: list[Choice] = []
    made = import_checkpoint(
        tmp_path / "tiny.gguf", "tiny", ModelStore(tmp_path / "store"), ["auto"], silent, None,
        Budget(size, cache_tokens=16), told.append,
    )  # fmt: skip
    assert [one.path.name for one in made] == ["tiny-int8"]
    assert [one.precision for one in told] == ["int8"]


def test_auto_without_a_budget_is_refused(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(RouterError, match="needs a memory budget"):
        import_checkpoint(tmp_path / "tiny.gguf", "tiny", ModelStore(tmp_path / "s"), ["auto"])
