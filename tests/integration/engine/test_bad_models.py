"""Model files that are broken, hostile or of another kind are refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.integration.engine.conftest import SHAPE, MakeEngine, tiny_ort_model
from tests.integration.engine.driving import Ask, library, run_together
from tests.integration.engine.tiny_model import make_model

from llmrouter import _native


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def refusal(folder: Path, **changes: object) -> str:
    """The sentence with which loading is refused."""
    _native.load_onnx_runtime(str(library()), 2)
    model = tiny_ort_model(folder)
    for name, value in changes.items():
        setattr(model, name, value)
    with pytest.raises(_native.EngineError) as raised:
        _native.load_ort_decoder(model, slots=2, context=SHAPE.context)
    assert raised.value.code is _native.ErrorCode.MODEL_UNAVAILABLE
    return str(raised.value)


def test_a_missing_file(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    assert "model.onnx" in refusal(folder)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file(folder: Path, share: float) -> None:
    file = folder / "model.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    assert refusal(folder)


def test_a_file_of_noise(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(np.random.default_rng(3).bytes(100_000))
    assert refusal(folder)


def _external(folder: Path, *, location: str, offset: int, length: int) -> None:
    """Point the embedding table at a place outside the file."""
    model = onnx.load(folder / "model.onnx")
    table = next(i for i in model.graph.initializer if i.name == "embeddings")
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        table.external_data.add(key=key, value=str(value))
    (folder / "model.onnx").write_bytes(model.SerializeToString())


SIZE = SHAPE.vocabulary * SHAPE.hidden * 4


@pytest.mark.parametrize(
    ("offset", "length"), [(0, SIZE), (10**15, SIZE), (0, 10**15), (2**63 - 1, SIZE), (-4096, SIZE)]
)
def test_weights_beyond_their_file(folder: Path, offset: int, length: int) -> None:
    (folder / "weights.bin").write_bytes(b"\0" * 4096)
    _external(folder, location="weights.bin", offset=offset, length=length)
    assert refusal(folder)


def test_weights_outside_the_folder(folder: Path) -> None:
    (folder.parent / "secret.bin").write_bytes(b"\0" * SIZE)
    _external(folder, location="../secret.bin", offset=0, length=SIZE)
    assert refusal(folder)


def test_weights_of_an_absurd_size(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    table = next(i for i in model.graph.initializer if i.name == "embeddings")
    table.dims[0] = 2**40
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert refusal(folder)


def test_a_tensor_of_another_name(folder: Path) -> None:
    assert "lacks the input past.0.key" in refusal(folder, past_key="past.%d.key")


def test_a_name_without_its_layer(folder: Path) -> None:
    assert "%d" in refusal(folder, past_key="past_key")


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("kv_heads", 3, "past_key_values.0.key"),
        ("head_size", 32, "past_key_values.0.key"),
        ("vocabulary", 100, "logits"),
        ("layers", 3, "past_key_values.2.key"),
        ("layers", 1, "past_key_values.1.key"),
    ],
)
def test_sizes_that_differ_from_the_configuration(
    folder: Path, field: str, value: int, named: str
) -> None:
    assert named in refusal(folder, **{field: value})


@pytest.mark.parametrize("field", ["kv_heads", "head_size", "vocabulary", "layers"])
def test_sizes_that_are_not_positive(folder: Path, field: str) -> None:
    assert "must be positive" in refusal(folder, **{field: 0})


def test_an_input_that_nobody_feeds(folder: Path) -> None:
    model = make_model(SHAPE)
    model.graph.input.append(
        helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["batch", "tokens"])
    )
    onnx.save(model, folder / "model.onnx")
    assert "needs the input position_ids" in refusal(folder)


def test_tokens_of_another_type(folder: Path) -> None:
    model = make_model(SHAPE)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    onnx.save(model, folder / "model.onnx")
    assert "input_ids" in refusal(folder)


def test_a_cache_of_a_fixed_batch(folder: Path) -> None:
    model = make_model(SHAPE)
    for value in [*model.graph.input, *model.graph.output]:
        if value.name.startswith(("past", "present")):
            value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, folder / "model.onnx")
    assert "past_key_values.0.key is float32 [1, " in refusal(folder)


def test_a_model_that_computes_no_numbers_fails_its_requests_and_no_more(
    folder: Path, make_engine: MakeEngine
) -> None:
    model = make_model(SHAPE)
    table = next(i for i in model.graph.initializer if i.name == "embeddings")
    values = numpy_helper.to_array(table).copy()
    values[7] = np.nan
    table.CopyFrom(numpy_helper.from_array(values, "embeddings"))
    onnx.save(model, folder / "model.onnx")
    engine = make_engine(folder)
    broken, fine = run_together(engine, [Ask([1, 7, 2]), Ask([1, 8, 2])])
    assert broken.failed is not None
    assert "not numbers" in broken.failed.message
    assert fine.finished is not None


def test_a_cache_that_grows_instead_of_being_shared(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name.startswith("present."):
                node.output[place] = f"new.{name}"
    for info in model.graph.output[1:]:
        past = info.name.replace("present", "past_key_values")
        # As in exports without GroupQueryAttention: the present is the past with something behind.
        model.graph.node.append(
            helper.make_node("Concat", [past, f"new.{info.name}"], [info.name], axis=2)
        )
    onnx.save(model, folder / "model.onnx")
    assert "shares its cache between past and present" in refusal(folder)


def test_sizes_whose_product_no_number_holds(folder: Path) -> None:
    _native.load_onnx_runtime(str(library()), 2)
    model = tiny_ort_model(folder)
    model.kv_heads = model.head_size = 4096
    with pytest.raises(_native.EngineError, match=r"is float32 \[\?, 2, \?, 16\], supported is"):
        _native.load_ort_decoder(model, slots=256, context=2**30)
