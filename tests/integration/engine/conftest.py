from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.engine.driving import library
from tests.integration.engine.tiny_model import TinyShape, write_tiny_folder

from llmrouter import _native
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend

SHAPE = TinyShape()

MakeEngine = Callable[..., _native.Engine]


@pytest.fixture(scope="session")
def shape() -> TinyShape:
    return SHAPE


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model at 8 bits, computing the last position's logits only, as our graphs do."""
    return write_tiny_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def external_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model at 8 bits with its weights in a file of their own."""
    return write_tiny_folder(tmp_path_factory.mktemp("models") / "external", external=True)


@pytest.fixture(scope="session")
def foreign_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model unquantised, computing the logits of every position, as others' graphs do."""
    folder = tmp_path_factory.mktemp("models") / "foreign"
    return write_tiny_folder(folder, quantised=False, last_only=False)


def tiny_ort_model(folder: Path) -> _native.OrtModel:
    model = _native.OrtModel()
    model.path = str(folder / "model.onnx")
    model.vocabulary = SHAPE.vocabulary
    model.layers = SHAPE.layers
    model.kv_heads = SHAPE.kv_heads
    model.head_size = SHAPE.head_size
    return model


def letters() -> _native.Vocabulary:
    """Token i is byte i; the end token has no text."""
    return _native.Vocabulary([bytes([i]) for i in range(256)], [SHAPE.end_token])


@pytest.fixture
def make_engine(tiny_folder: Path) -> Iterator[MakeEngine]:
    engines: list[_native.Engine] = []

    def make(
        folder: Path = tiny_folder,
        *,
        slots: int = 8,
        max_waiting: int = 256,
        prefill_chunk: int = 16,
        context: int = SHAPE.context,
    ) -> _native.Engine:
        _native.load_onnx_runtime(str(library()), 2)
        decoder = _native.load_ort_decoder(tiny_ort_model(folder), slots=slots, context=context)
        engine = _native.Engine(
            decoder, letters(), max_waiting=max_waiting, prefill_chunk=prefill_chunk
        )
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.stop()


@pytest.fixture
async def tiny(tiny_folder: Path) -> AsyncIterator[OnnxRuntimeBackend]:
    backend = await OnnxRuntimeBackend.load(tiny_folder, BackendOptions(threads=2, slots=8))
    yield backend
    await backend.close()
