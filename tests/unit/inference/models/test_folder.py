from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.inference.models.tiny_folder import config, write_config, write_tiny_folder

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.card import (
    ModelCard,
    Quality,
    Source,
    Speed,
    read_card,
    write_card,
)
from llmrouter.inference.models.checksum import file_sizes
from llmrouter.inference.models.folder import read_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_folder(tmp_path / "tiny")


def refusal(folder: Path) -> str:
    with pytest.raises(RouterError) as raised:
        read_folder(folder)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    return raised.value.message


def test_a_folder_is_read_as_its_configuration_says(folder: Path) -> None:
    read = read_folder(folder)
    assert (read.name, read.architecture, read.version) == ("tiny", "llama", "unversioned")
    assert (read.layers, read.heads, read.kv_heads, read.head_size) == (2, 4, 2, 16)
    assert (read.eos_token_ids, read.bos_token_id, read.card) == ((2,), 1, None)
    assert read.input_names["past_key_names"] == "past_key_values.%d.key"
    assert read.output_names["present_value_names"] == "present.%d.value"
    assert read.size_bytes == sum(file.stat().st_size for file in folder.iterdir())


def test_several_end_tokens(folder: Path) -> None:
    content = config()
    content["model"]["eos_token_id"] = [2, 0]
    write_config(folder, content)
    assert read_folder(folder).eos_token_ids == (2, 0)


@pytest.mark.parametrize("name", ["genai_config.json", "tokenizer.json", "model.onnx"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{folder / name}: is missing" in refusal(folder)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    assert "is not a folder" in refusal(tmp_path / "none")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null", b'"text"']
)
def test_a_configuration_that_is_no_json_object(folder: Path, content: bytes) -> None:
    (folder / "genai_config.json").write_bytes(content)
    assert "genai_config.json" in refusal(folder)


def test_a_configuration_of_absurd_size(folder: Path) -> None:
    (folder / "genai_config.json").write_bytes(b" " * (17 * 1024 * 1024))
    assert "larger than 16 MiB" in refusal(folder)


@pytest.mark.parametrize("value", [None, 0, -1, 10**30, 1.5, True, "2", [], {}])
@pytest.mark.parametrize("field", ["num_hidden_layers", "head_size", "num_key_value_heads"])
def test_sizes_out_of_bounds_are_named(folder: Path, field: str, value: Any) -> None:
    write_config(folder, config(**{field: value}))
    assert f"model.decoder.{field}" in refusal(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 0),
        ("context_length", "128"),
        ("eos_token_id", 10**6),
        ("eos_token_id", []),
        ("eos_token_id", [1, "2"]),
        ("eos_token_id", [True]),
        ("bos_token_id", -1),
        ("type", 7),
        ("decoder", []),
    ],
)
def test_wrong_fields_of_the_model_are_named(folder: Path, field: str, value: Any) -> None:
    content = config()
    content["model"][field] = value
    write_config(folder, content)
    assert f"model.{field}" in refusal(folder)


def test_heads_that_do_not_divide(folder: Path) -> None:
    write_config(folder, config(num_key_value_heads=3))
    assert "must divide" in refusal(folder)


@pytest.mark.parametrize("name", ["past", "past.%d.%d", "past.%s", "%d.%n"])
def test_tensor_names_without_one_place_for_the_layer(folder: Path, name: str) -> None:
    write_config(folder, config(inputs={"past_key_names": name}))
    assert "past_key_names" in refusal(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "", "a\0b"])
def test_weights_outside_of_the_folder(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_bytes(b"x")
    write_config(folder, config(filename=name))
    assert refusal(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "genai_config.json"])
def test_links_that_lead_out_of_the_folder(folder: Path, name: str) -> None:
    outside = folder.parent / "secret"
    outside.write_bytes((folder / name).read_bytes())
    (folder / name).unlink()
    (folder / name).symlink_to(outside)
    assert "leads out" in refusal(folder)


CARD = ModelCard(
    name="tiny-int8",
    version="abc123",
    architecture="llama",
    parameters=1000,
    precision="int8",
    context=128,
    licence="Apache-2.0",
    source=Source("tiny.gguf", "0" * 64),
    quality=Quality(20.5, 20.0, 0.01, 0.9, 900),
)


SPEED = Speed("a processor, 2 cores", 0.8, 700.0, 97.5, 250.0, 8, 200_000_000)


def test_a_card_with_its_speed_is_read_back_and_stands_there_whole(folder: Path) -> None:
    write_card(CARD, folder)
    write_card(replace(CARD, speed=SPEED), folder)
    assert read_card(folder / "llmrouter.json").speed == SPEED
    assert [one.name for one in folder.iterdir() if one.name.startswith(".")] == []


def test_what_is_measured_later_makes_no_newer_version_of_a_folder(folder: Path) -> None:
    write_card(CARD, folder)
    os.utime(folder, (1000, 1000))
    write_card(replace(CARD, speed=SPEED), folder)
    assert folder.stat().st_mtime == 1000


def test_a_card_is_read_back_as_written(folder: Path) -> None:
    write_card(CARD, folder)
    assert read_card(folder / "llmrouter.json") == CARD
    assert read_folder(folder).name == "tiny-int8"
    assert read_folder(folder).version == "abc123"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("version", None),
        ("version", "\x1b[2J"),
        ("parameters", -1),
        ("source", "somewhere"),
        ("format", 2),
        ("quality", {"perplexity": float("nan")}),
        ("quality", {"perplexity": 2, "reference_perplexity": 2, "kl_divergence": "0"}),
    ],
)
def test_a_wrong_card_is_refused_by_field(folder: Path, field: str, value: Any) -> None:
    write_card(CARD, folder)
    content = json.loads((folder / "llmrouter.json").read_text())
    content[field] = value
    (folder / "llmrouter.json").write_text(json.dumps(content))
    assert field in refusal(folder)


def test_a_file_that_has_lost_bytes_since_its_import_is_refused_by_name(folder: Path) -> None:
    write_card(replace(CARD, files=file_sizes(folder)), folder)
    assert read_folder(folder).card is not None
    os.truncate(folder / "model.onnx", 1)
    assert "model.onnx: has 1 bytes, but" in refusal(folder)
    (folder / "model.onnx").unlink()
    assert "model.onnx: is missing" in refusal(folder)


@pytest.mark.parametrize("files", [{"../secret": 1}, {"model.onnx": -1}, {"model.onnx": "1"}, [1]])
def test_a_card_with_hostile_files_is_refused(folder: Path, files: Any) -> None:
    (folder.parent / "secret").write_bytes(b"1")
    write_card(CARD, folder)
    content = json.loads((folder / "llmrouter.json").read_text())
    content["files"] = files
    (folder / "llmrouter.json").write_text(json.dumps(content))
    assert refusal(folder)


def test_text_that_is_no_unicode_is_refused_by_its_field(folder: Path) -> None:
    content = config()
    content["model"]["decoder"]["outputs"] = {"logits": "\ud800"}
    write_config(folder, content)
    assert "outputs.logits is" in refusal(folder)
