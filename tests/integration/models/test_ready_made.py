"""Folders that others made: taken as they are, or refused by the name of what is not supported."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.models.driving import Runner
from tests.integration.models.tiny_decoder import DECODERS, random_weights
from tests.integration.models.writing_folder import config, write_folder
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers.base import find_importer
from llmrouter.inference.importers.huggingface import HuggingFaceImporter
from llmrouter.inference.importers.onnx_decoder import read_decoder_graph
from llmrouter.inference.importers.optimum import OptimumImporter
from llmrouter.inference.importers.ready_made import CTranslate2FolderImporter, GenaiImporter
from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.checksum import folder_sha256
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.store import ModelStore

DECODER = DECODERS["qwen2"]
TOKENS = [int(one) for one in np.random.default_rng(2).integers(3, 264, 20)]


@pytest.fixture
def genai(tmp_path: Path) -> Path:
    """A folder that onnxruntime-genai would take, written from random weights."""
    write_folder(tmp_path / "source", DECODER, random_weights(DECODER))
    made = tmp_path / "genai"
    made.mkdir()
    HuggingFaceImporter.open(tmp_path / "source").convert(made, "int4", silent)
    return made


@pytest.fixture
def optimum(tmp_path: Path, genai: Path) -> Path:
    """The same as Optimum would lay it out."""
    folder = tmp_path / "optimum"
    shutil.copytree(genai, folder)
    (folder / "genai_config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config(DECODER)))
    return folder


def refusal(source: Path) -> str:
    store = ModelStore(source.parent / "store")
    with pytest.raises(RouterError) as raised:
        import_checkpoint(source, "tiny", store)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert not store.root.exists() or list(store.root.iterdir()) == []
    return raised.value.message


def test_each_folder_is_known_by_its_files(genai: Path, optimum: Path, tmp_path: Path) -> None:
    assert find_importer(genai) is GenaiImporter
    assert find_importer(optimum) is OptimumImporter
    assert find_importer(tmp_path / "source") is HuggingFaceImporter


def test_a_genai_folder_is_taken_as_it_is(genai: Path, tmp_path: Path) -> None:
    (made,) = import_checkpoint(genai, "mine", ModelStore(tmp_path / "store"))
    assert made.path.name == "mine-int8", "most weights of so small a model are at 8 bits"
    assert made.card is not None
    assert made.card.source.sha256 == folder_sha256(genai)
    assert made.card.quality is None
    assert made.card.parameters > 10_000
    for file in genai.iterdir():
        assert (made.path / file.name).read_bytes() == file.read_bytes()


def test_an_optimum_folder_runs_where_its_attention_works_in_place(
    genai: Path, optimum: Path, tmp_path: Path
) -> None:
    (made,) = import_checkpoint(optimum, "mine", ModelStore(tmp_path / "store"))
    found = Runner(read_folder(made.path)).logits(TOKENS)
    assert np.array_equal(found, Runner(read_folder(genai)).logits(TOKENS))
    assert read_folder(made.path).eos_token_ids == (2,)


def placed(folder: Path, place: str) -> Path:
    """The folder with its weights at `place`."""

    def change(graph: Any) -> None:
        for tensor in graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = place

    edited(folder, change)
    weights = (folder / "model.onnx.data").read_bytes()
    (folder / "model.onnx.data").unlink()
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_bytes(weights)
    return folder


def below(folder: Path, inner: str) -> Path:
    """The folder with its graph and what lies beside it in `inner`, as larger exports have it."""
    kept = {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", inner}
    (folder / inner).mkdir()
    for one in list(folder.iterdir()):
        if one.name not in kept:
            one.rename(folder / inner / one.name)
    return folder


@pytest.mark.parametrize("inner", ["", "onnx"])
def test_weights_below_an_optimum_graph_stay_where_it_looks_for_them(
    genai: Path, optimum: Path, tmp_path: Path, inner: str
) -> None:
    placed(optimum, "weights/part.data")
    source = below(optimum, inner) if inner else optimum
    (made,) = import_checkpoint(source, "mine", ModelStore(tmp_path / "store"))
    assert (made.path / "weights" / "part.data").is_file()
    found = Runner(read_folder(made.path)).logits(TOKENS)
    assert np.array_equal(found, Runner(read_folder(genai)).logits(TOKENS))


@pytest.mark.parametrize(
    "place", ["genai_config.json", "llmrouter.json", "special_tokens_map.json/x", "weights/../part"]
)
def test_weights_that_cannot_stay_where_an_optimum_graph_looks_for_them_are_refused(
    optimum: Path, place: str
) -> None:
    placed(optimum, place)
    (optimum / "weights").mkdir(exist_ok=True)
    source = below(optimum, "onnx")
    (source / "special_tokens_map.json").write_text("{}")
    told = refusal(source)
    assert f"model.onnx places weights in '{place}', where they cannot stay" in told
    assert "export the model with its weights in a file beside it" in told


def edited(folder: Path, change: Any) -> None:
    file = folder / "model.onnx"
    model = onnx.load(str(file), load_external_data=False)
    change(model.graph)
    onnx.save(model, str(file))


def rename(graph: Any, before: str, after: str) -> None:
    for value in graph.input:
        if value.name == before:
            value.name = after


@pytest.mark.parametrize("kind", ["genai", "optimum"])
def test_inputs_that_nobody_feeds_are_named(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    edited(folder, lambda graph: rename(graph, "logits_to_keep", "position_ids"))
    assert "the input 'position_ids', which is not supported" in refusal(folder)


def test_attention_of_another_kind_is_refused(optimum: Path) -> None:
    def change(graph: Any) -> None:
        next(node for node in graph.node if node.op_type == "GroupQueryAttention").op_type = "Add"

    edited(optimum, change)
    assert "has 1 operators GroupQueryAttention for 2 layers" in refusal(optimum)


@pytest.mark.parametrize("kind", ["genai", "optimum"])
@pytest.mark.parametrize("part", ["operator", "specification"])
def test_a_layer_that_is_sharded_over_devices_is_refused_by_name(
    kind: str, part: str, request: pytest.FixtureRequest
) -> None:
    def change(graph: Any) -> None:
        node = next(node for node in graph.node if node.op_type == "MatMulNBits")
        if part == "operator":
            node.op_type = "AllReduce"
        else:
            node.device_configurations.add(configuration_id="two").sharding_spec.add()

    folder = request.getfixturevalue(kind)
    edited(folder, change)
    assert "over devices, which is not supported" in refusal(folder)


def test_a_model_in_several_sessions_is_refused_by_name(genai: Path) -> None:
    config = json.loads((genai / "genai_config.json").read_text())
    config["model"]["decoder"]["pipeline"] = [{"first": {"filename": "model.onnx"}}]
    (genai / "genai_config.json").write_text(json.dumps(config))
    assert "splits the model over several sessions or devices" in refusal(genai)


def test_caches_that_are_missing_are_named(optimum: Path) -> None:
    edited(optimum, lambda graph: rename(graph, "past_key_values.1.key", "past_key_values.7.key"))
    assert "past_key_values.N.key" in refusal(optimum)


@pytest.mark.parametrize(
    ("entry", "value", "told"),
    [
        ("location", "../outside", "/../outside: leads out of the model's folder"),
        ("location", "", "/optimum: is not a file"),
        ("offset", "-1", "cos_cache.* at -1 with 8192 bytes, outside of"),
        ("length", str(2**40), f"cos_cache.* at 0 with {2**40} bytes, outside of"),
        ("offset", "here", "cos_cache.* at no number"),
    ],
)
def test_weights_that_are_not_where_the_folder_has_them_are_refused_by_name(
    optimum: Path, entry: str, value: str, told: str
) -> None:
    (optimum.parent / "outside").write_bytes(b"\0" * 2**20)

    def change(graph: Any) -> None:
        tensor = next(one for one in graph.initializer if one.external_data)
        for one in tensor.external_data:
            if one.key == entry:
                one.value = value

    edited(optimum, change)
    assert re.search(told, refusal(optimum))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x08\xff"])
def test_graphs_that_are_none(genai: Path, content: bytes) -> None:
    (genai / "model.onnx").write_bytes(content)
    assert "model.onnx" in refusal(genai)


def untold(file: Path, text: bytes) -> None:
    """Make a name in a graph what is no text."""
    file.write_bytes(file.read_bytes().replace(text, text[:-3] + b"\xff\xfe\xfd"))


@pytest.mark.parametrize(
    ("text", "told"),
    [(b"attention_mask", "has the input .*attention_m"), (b"model.onnx.data", "is missing")],
)
def test_a_name_that_is_no_text_is_refused_where_it_has_to_be_known(
    genai: Path, text: bytes, told: str
) -> None:
    untold(genai / "model.onnx", text)
    assert re.search(told, refusal(genai))


def test_a_tensor_name_that_is_no_text_names_its_tensor_all_the_same(genai: Path) -> None:
    before = read_decoder_graph(genai / "model.onnx")
    untold(genai / "model.onnx", b"token_embd.scales")
    assert read_decoder_graph(genai / "model.onnx") == before


def test_links_out_of_the_folder_are_not_followed(genai: Path) -> None:
    (genai / "secret.json").symlink_to("/etc/passwd")
    assert "leads out" in refusal(genai)


def test_another_precision_is_refused_with_the_one_there_is(genai: Path, tmp_path: Path) -> None:
    with pytest.raises(RouterError, match="'fp32' cannot be had; one of int8") as raised:
        import_checkpoint(genai, "mine", ModelStore(tmp_path / "store"), ["fp32"])
    assert raised.value.reason is Reason.INVALID_ARGUMENT


def test_a_ctranslate2_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2", reason="needs the extra `ctranslate2`")
    write_tiny_gguf(tmp_path / "tiny.gguf", Tiny())
    store = ModelStore(tmp_path / "store")
    (first,) = import_checkpoint(
        tmp_path / "tiny.gguf", "first", store, ["int8"], importer="gguf-ctranslate2"
    )
    assert find_importer(first.path) is CTranslate2FolderImporter
    (made,) = import_checkpoint(first.path, "second", store)
    assert made.path.name == "second-int8"
    assert (made.path / "model.bin").read_bytes() == (first.path / "model.bin").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("whole")
    write_folder(base / "source", DECODER, random_weights(DECODER))
    made = base / "genai"
    made.mkdir()
    HuggingFaceImporter.open(base / "source").convert(made, "int8", silent)
    return made


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_flipped_graphs_are_read_or_refused(whole: Path, data: st.DataObject) -> None:
    file = whole / "model.onnx"
    before = file.read_bytes()
    raw = bytearray(before)
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        file.write_bytes(raw)
        with suppress(RouterError):
            read_decoder_graph(file)
    finally:
        file.write_bytes(before)
