"""Measuring how fast a model runs, and where the figures go from there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.cli.driving import run as cli
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.card import Speed, write_card
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.machine import describe_machine
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.speed import STREAMS, keep_speed, measure_speed
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.settings import InferenceSettings
from llmrouter.inference.wire_speed import encode_speed


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    write_tiny_gguf(tmp_path / "tiny.gguf", Tiny(layers=1))
    store = ModelStore(tmp_path / "models")
    import_checkpoint(tmp_path / "tiny.gguf", "tiny", store, ["int8"])
    return store.folder("tiny-int8")


async def test_every_figure_of_a_model_is_measured_and_kept(model: ModelFolder) -> None:
    speed = await measure_speed(model.path, InferenceSettings(), silent)
    assert (speed.machine, speed.streams) == (describe_machine(), STREAMS)
    for rate in (speed.load_seconds, speed.prefill_rate, speed.decode_rate, speed.batch_rate):
        assert rate > 0
    kept = keep_speed(model, speed)
    assert kept.card is not None
    assert kept.card.speed == speed
    assert kept.version == model.version, "what is measured of a model makes no other of it"


async def test_a_folder_without_a_card_is_measured_but_has_nowhere_to_keep_it(
    model: ModelFolder,
) -> None:
    (model.path / "llmrouter.json").unlink()
    bare = read_folder(model.path)
    speed = await measure_speed(bare.path, InferenceSettings(), silent)
    with pytest.raises(RouterError, match="has no card") as raised:
        keep_speed(bare, speed)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE


def test_the_command_tells_the_figures_and_the_list_shows_them(model: ModelFolder) -> None:
    store = ("--store", str(model.path.parent))
    before = cli("models", "list", *store).stdout
    assert "tokens/s" not in before
    done = cli("models", "bench", "tiny-int8", *store)
    assert done.exit_code == 0, done.stderr
    for told in ("load", "memory", "prompts", "one answer", "8 at once", "tokens/s"):
        assert told in done.stdout
    lines = cli("models", "bench", "tiny-int8", "--json", *store).stdout.splitlines()
    measured = json.loads(lines[-1])
    assert measured["event"] == "measured"
    assert "tokens/s" in cli("models", "list", *store).stdout
    (listed,) = json.loads(cli("models", "list", "--json", *store).stdout)["models"]
    assert listed["speed"]["decode_rate"] == measured["decode_rate"]
    assert (listed["architecture"], listed["precision"]) == ("llama", "int8")
    assert listed["parameters"] > 0


def test_an_unknown_model_is_one_sentence(tmp_path: Path) -> None:
    done = cli("models", "bench", "nobody", "--store", str(tmp_path))
    assert done.exit_code == 1
    assert "nobody is not in" in done.stderr


def test_figures_of_another_machine_are_not_told(model: ModelFolder) -> None:
    assert model.card is not None
    assert encode_speed(model.card) is None
    measured = Speed(describe_machine(), 0.5, 900.0, 90.0, 250.0, 8, 1)
    told = encode_speed(replace(model.card, speed=measured))
    assert told is not None
    assert (told.prefill_rate, told.decode_rate, told.batch_rate, told.streams) == (900, 90, 250, 8)
    elsewhere = replace(measured, machine="a faster processor, 96 cores")
    assert encode_speed(replace(model.card, speed=elsewhere)) is None
    write_card(replace(model.card, speed=elsewhere), model.path)
    assert "tokens/s" not in cli("models", "list", "--store", str(model.path.parent)).stdout
