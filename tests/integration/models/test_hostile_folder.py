"""Folders that lie are refused in a sentence that names file and field, and leave nothing."""

from __future__ import annotations

import json
import re
import shutil
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.models.tiny_decoder import Decoder, random_weights
from tests.integration.models.writing_folder import write_folder, write_safetensors

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers import run
from llmrouter.inference.importers.huggingface import HuggingFaceImporter
from llmrouter.inference.importers.safetensors_check import check_safetensors
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.models.text import load_text

TINY = Decoder("llama", layers=1)
NORM = "model.norm.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "tiny", TINY, random_weights(TINY))
    return tmp_path / "tiny"


def refusal(folder: Path) -> str:
    store = ModelStore(folder.parent / "store")
    with pytest.raises(RouterError) as raised:
        run.import_checkpoint(folder, "tiny", store, ["int8"])
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert not store.root.exists() or list(store.root.iterdir()) == []
    return raised.value.message


def header(folder: Path) -> dict[str, Any]:
    raw = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    found: dict[str, Any] = json.loads(raw[8 : 8 + length])
    return found


def rewritten(folder: Path, changed: dict[str, Any] | bytes, length: int | None = None) -> None:
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    (before,) = struct.unpack_from("<Q", raw)
    text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
    count = len(text) if length is None else length
    file.write_bytes(struct.pack("<Q", count) + text + raw[8 + before :])


@pytest.mark.parametrize("share", [0, 0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99999])
def test_truncated_files(folder: Path, share: float) -> None:
    file = folder / "model.safetensors"
    raw = file.read_bytes()
    file.write_bytes(raw[: int(len(raw) * share)])
    assert "model.safetensors" in refusal(folder)


@pytest.mark.parametrize("length", [2**24 + 1, 2**40, 2**63, 2**64 - 1])
def test_headers_longer_than_the_file(folder: Path, length: int) -> None:
    rewritten(folder, header(folder), length)
    assert str(length) in refusal(folder)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b"1"])
def test_headers_that_are_no_object(folder: Path, text: bytes) -> None:
    rewritten(folder, text)
    assert "header" in refusal(folder)


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {},
        {"dtype": "F32", "shape": [64]},
        {"dtype": "F99", "shape": [64], "data_offsets": [0, 256]},
        {"dtype": ["F32"], "shape": [64], "data_offsets": [0, 256]},
        {"dtype": "F32", "shape": [-64], "data_offsets": [0, 256]},
        {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 256]},
        {"dtype": "F32", "shape": [1] * 9, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [64.0], "data_offsets": [0, 256]},
        {"dtype": "F32", "shape": [64], "data_offsets": [0, 255]},
        {"dtype": "F32", "shape": [64], "data_offsets": [-256, 0]},
        {"dtype": "F32", "shape": [64], "data_offsets": [0, 256, 512]},
        {"dtype": "F32", "shape": [64], "data_offsets": [2**63, 2**63 + 256]},
    ],
    ids=str,
)
def test_tensors_that_are_described_wrongly(folder: Path, entry: Any) -> None:
    rewritten(folder, header(folder) | {NORM: entry})
    said = refusal(folder)
    assert NORM in said
    assert "model.safetensors" in said


@pytest.mark.parametrize("by", [-256, 4, 256, 2**20, 2**40])
def test_tensors_that_overlap_or_lie_outside(folder: Path, by: int) -> None:
    changed = header(folder)
    last = max((name for name in changed if name != "__metadata__"),
               key=lambda name: changed[name]["data_offsets"])  # fmt: skip
    changed[last]["data_offsets"] = [one + by for one in changed[last]["data_offsets"]]
    rewritten(folder, changed)
    said = refusal(folder)
    assert last in said
    assert str(changed[last]["data_offsets"][0]) in said


@pytest.mark.parametrize("name", ["", "\ud800", "a\nb", "x" * 2000])
def test_a_tensor_name_that_nobody_could_print_is_refused_escaped_and_cut(
    folder: Path, name: str
) -> None:
    rewritten(folder, header(folder) | {name: header(folder)[NORM]})
    said = refusal(folder)
    assert f"model.safetensors has a tensor of the name {name[:80]!a}; unusable" in said
    assert said.isprintable()


def test_bytes_that_nothing_describes(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes() + b"\0" * 8)
    assert "but describes" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "shape", "kind", "told"),
    [
        (NORM, [32], "F32", "shape (32,)"),
        (NORM, [64], "F64", "as F64"),
        (NORM, None, "F32", f"lacks the tensor '{NORM}'"),
        ("model.layers.0.mlp.extra.weight", [4], "F32", "extra.weight', which is not supported"),
    ],
)
def test_tensors_that_do_not_fit_the_model(
    folder: Path, name: str, shape: list[int] | None, kind: str, told: str
) -> None:
    changed, at = {}, 0
    for one, entry in (header(folder) | {name: {"dtype": kind, "shape": shape}}).items():
        if one == "__metadata__" or entry["shape"] is None:
            continue
        size = {"F32": 4, "F64": 8}[entry["dtype"]]
        for length in entry["shape"]:
            size *= length
        changed[one] = entry | {"data_offsets": [at, at + size]}
        at += size
    text = json.dumps(changed).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * at)
    assert told in refusal(folder)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("model_type", "mamba", "supported are llama, mistral, qwen2, qwen3, gemma, gemma2, phi3"),
        ("model_type", None, "model_type"),
        ("architectures", ["LlamaForSequenceClassification"], "ForCausalLM"),
        ("quantization_config", {"quant_method": "gptq"}, "quantization_config"),
        ("hidden_act", "relu", "hidden_act"),
        ("num_attention_heads", 0, "num_attention_heads"),
        ("num_attention_heads", True, "num_attention_heads"),
        ("num_key_value_heads", 3, "key/value heads"),
        ("num_hidden_layers", 10**6, "num_hidden_layers"),
        ("num_hidden_layers", 2, "layers.1"),
        ("hidden_size", 2**40, "hidden_size"),
        ("head_dim", 24, "a head size of 24"),
        ("intermediate_size", 100, "feed-forward"),
        ("max_position_embeddings", 2**21, "max_position_embeddings"),
        ("rms_norm_eps", None, "rms_norm_eps"),
        ("rms_norm_eps", float("nan"), "rms_norm_eps"),
        ("rope_theta", 0.5, "rope_theta"),
        ("rope_scaling", "linear", "rope_scaling"),
        ("rope_scaling", {"type": "mrope"}, "supported are default, linear"),
        ("rope_scaling", {"type": "linear", "factor": 0}, "factor"),
        ("rope_scaling", {"type": "yarn", "factor": 2, "mscale": 1.0}, "mscale"),
        ("rope_scaling", {"type": "longrope", "short_factor": [1]}, "short_factor"),
        ("partial_rotary_factor", 0.5, "partial_rotary_factor"),
        ("vocab_size", 100, "token_embd|embed_tokens"),
        ("eos_token_id", None, "eos_token_id"),
        ("eos_token_id", 10**6, "eos_token_id"),
        ("sliding_window", -1, "sliding_window"),
        ("layer_types", ["full_attention", "full_attention"], "layer_types"),
    ],
)
def test_wrong_configurations_are_named(folder: Path, field: str, value: Any, named: str) -> None:
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mistral" if field in {"sliding_window", "layer_types"} else "llama"
    config |= {"sliding_window": 8} if field == "layer_types" else {}
    (folder / "config.json").write_text(json.dumps(config | {field: value}))
    said = refusal(folder)
    assert any(one in said for one in named.split("|"))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"\0" * 2**25])
def test_configurations_that_are_no_json(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("../outside.safetensors", "/../outside.safetensors: leads out of the model's folder"),
        ("/etc/passwd", "/etc/passwd: leads out of the model's folder"),
        ("none.safetensors", "/none.safetensors: is missing"),
        ("", "model.safetensors.index.json: weight_map.model.norm.weight is ''"),
    ],
)
def test_a_shard_that_is_not_in_the_folder_is_refused_by_name(
    folder: Path, place: str, told: str
) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "outside.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {NORM: place}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert told in refusal(folder)


def test_a_tensor_that_stands_in_two_files_is_refused(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "again.safetensors")
    places = {NORM: "model.safetensors", "other": "again.safetensors"}
    (folder / "model.safetensors").rename(folder / "first.safetensors")
    places[NORM] = "first.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert "of another file again" in refusal(folder)


def test_pickled_weights_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert "never read" in refusal(folder)


def test_a_folder_without_a_fast_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "has no tokenizer.json" in refusal(folder)


def test_weights_that_are_no_numbers_are_refused(folder: Path) -> None:
    weights = {name: value * float("nan") for name, value in random_weights(TINY).items()}
    shutil.rmtree(folder)
    write_folder(folder, TINY, weights)
    said = refusal(folder)
    assert "model.safetensors holds things in 'model." in said
    assert re.search(r"from byte \d+ on", said)


_FUZZED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_FUZZED
@given(data=st.data())
def test_flipped_headers_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "tiny.safetensors"
    weights = {name: value for name, value in random_weights(TINY).items() if "norm" in name}
    write_safetensors(file, weights, "F32")
    raw = bytearray(file.read_bytes())
    (length,) = struct.unpack_from("<Q", raw)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 8 + length))] = data.draw(st.integers(0, 255))
    file.write_bytes(raw)
    with suppress(RouterError):
        for name, stored in check_safetensors(file).items():
            assert stored.shape is not None
            assert isinstance(name, str)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("whole")
    write_folder(base / "tiny", TINY, random_weights(TINY))
    return base / "tiny"


@_FUZZED
@given(data=st.data())
def test_flipped_configurations_are_imported_or_refused(whole: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["config.json", "model.safetensors", "tokenizer.json"]))
    before = (whole / name).read_bytes()
    raw = bytearray(before)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, min(len(raw), 4000) - 1))] = data.draw(st.integers(0, 255))
    target = whole.parent / "made"
    target.mkdir()
    try:
        (whole / name).write_bytes(raw)
        with suppress(RouterError):
            HuggingFaceImporter.open(whole).convert(target, "int8", silent)
            load_text(read_folder(target))
    finally:
        (whole / name).write_bytes(before)
        shutil.rmtree(target)
