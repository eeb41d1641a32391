"""A GGUF written by the test becomes folders that compute what the checkpoint means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime_genai as genai
import pytest
from gguf import GGMLQuantizationType
from tests.integration.models.driving import Runner
from tests.integration.models.genai_loop import genai_greedy
from tests.integration.models.numpy_llama import llama_logits
from tests.unit.inference.importers.tiny_gguf import Tiny, vocabulary, write_tiny_gguf

from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.models.folder import ModelFolder
from llmrouter.inference.models.store import ModelStore

TOKENS = [int(one) for one in np.random.default_rng(2).integers(3, len(vocabulary()[0]), 40)]

Folders = dict[str, ModelFolder]


@pytest.fixture(scope="module")
def weights_and_folders(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, npt.NDArray[np.float32]], Folders]:
    base = tmp_path_factory.mktemp("import")
    weights = write_tiny_gguf(base / "tiny.gguf")
    store = ModelStore(base / "store")
    made = import_checkpoint(base / "tiny.gguf", "tiny", store, ("int8", "int4", "fp32"))
    return weights, {folder.name.removeprefix("tiny-"): folder for folder in made}


@pytest.fixture(scope="module")
def folders(weights_and_folders: tuple[object, Folders]) -> Folders:
    return weights_and_folders[1]


@pytest.fixture(scope="module")
def exact(weights_and_folders: tuple[dict[str, npt.NDArray[np.float32]], Folders]) -> object:
    return llama_logits(weights_and_folders[0], Tiny(), TOKENS)


def test_the_unquantised_graph_computes_the_same_as_numpy(
    folders: Folders, exact: npt.NDArray[np.float64]
) -> None:
    logits = Runner(folders["fp32"]).logits(TOKENS, keep=len(TOKENS))
    assert np.abs(logits - exact).max() < 1e-4
    assert np.abs(exact).max() > 1


@pytest.mark.parametrize(("precision", "share"), [("int8", 0.08), ("int4", 0.4)])
def test_quantised_graphs_compute_nearly_the_same(
    folders: Folders, exact: npt.NDArray[np.float64], precision: str, share: float
) -> None:
    logits = Runner(folders[precision]).logits(TOKENS, keep=len(TOKENS))
    error = np.sqrt(np.mean((logits - exact) ** 2)) / np.sqrt(np.mean(exact**2))
    assert 0 < error < share


@pytest.mark.parametrize(
    "tiny",
    [
        Tiny(tied=False),
        Tiny(kv_heads=4),
        Tiny(kv_heads=1, layers=1),
        *(
            Tiny(matrix_type=kind, embedding_type=kind)
            for kind in (
                GGMLQuantizationType.F32,
                GGMLQuantizationType.F16,
                GGMLQuantizationType.BF16,
                GGMLQuantizationType.Q4_0,
                GGMLQuantizationType.Q5_0,
                GGMLQuantizationType.Q5_1,
                GGMLQuantizationType.Q8_0,
            )
        ),
    ],
    ids=lambda tiny: f"{tiny.matrix_type.name}-{tiny.kv_heads}-{tiny.tied}",
)
def test_other_shapes_and_types_compute_the_same(tmp_path: Path, tiny: Tiny) -> None:
    weights = write_tiny_gguf(tmp_path / "tiny.gguf", tiny)
    store = ModelStore(tmp_path / "store")
    (folder,) = import_checkpoint(tmp_path / "tiny.gguf", "tiny", store, ["fp32"])
    logits = Runner(folder).logits(TOKENS, keep=len(TOKENS))
    assert np.abs(logits - llama_logits(weights, tiny, TOKENS)).max() < 1e-4


@pytest.mark.parametrize("precision", ["int8", "int4", "fp32"])
def test_the_head_is_computed_for_the_positions_asked_for(folders: Folders, precision: str) -> None:
    runner = Runner(folders[precision])
    every = runner.logits(TOKENS, keep=len(TOKENS))
    assert every.shape == (len(TOKENS), len(vocabulary()[0]))
    assert np.allclose(runner.logits(TOKENS, keep=3), every[-3:], atol=1e-5)
    assert np.allclose(runner.logits(TOKENS), every[-1:], atol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "int4", "fp32"])
def test_rows_of_different_lengths_decoded_together_equal_each_alone(
    folders: Folders, precision: str
) -> None:
    """One shared buffer; each row prefilled in chunks on its own view, decoded in one call."""
    runner, lengths, room = Runner(folders[precision]), (5, 17, 30), 64
    together = runner.empty(len(lengths), room)
    alone = []
    for row, length in enumerate(lengths):
        cache = runner.empty()
        for start in range(0, length, 8):
            end = min(start + 8, length)
            mask = np.ones((1, end), np.int64)
            _, cache = runner.run([TOKENS[start:end]], mask, cache)
        for name, value in cache.items():
            together[name][row, :, :length] = value[0]
        mask = np.ones((1, length + 1), np.int64)
        alone.append(runner.run([[TOKENS[length]]], mask, cache)[0][0, -1])
    mask = np.zeros((len(lengths), max(lengths) + 1), np.int64)
    for row, length in enumerate(lengths):
        mask[row, : length + 1] = 1
    logits, _ = runner.run([[TOKENS[length]] for length in lengths], mask, together)
    for row in range(len(lengths)):
        assert np.allclose(logits[row, -1], alone[row], atol=1e-5)


@pytest.mark.parametrize("precision", ["int8", "int4", "fp32"])
def test_genai_gives_the_same_greedy_answer(folders: Folders, precision: str) -> None:
    folder = folders[precision]
    expected = [one for one in Runner(folder).greedy(TOKENS, 20) if one not in folder.eos_token_ids]
    assert genai_greedy(folder, TOKENS, 20) == expected
    assert expected


def test_genai_reads_the_tokenizer(folders: Folders) -> None:
    tokenizer = genai.Tokenizer(genai.Model(str(folders["int8"].path)))
    assert list(tokenizer.encode("in the 12 <|end|>"))[-1] == 2
    assert tokenizer.decode(tokenizer.encode("in the 12")) == "in the 12"


def test_the_tied_matrix_is_stored_once(folders: Folders) -> None:
    sizes = {
        name: (folder.path / "model.onnx.data").stat().st_size for name, folder in folders.items()
    }
    vocabulary_bytes = len(vocabulary()[0]) * Tiny().hidden
    assert sizes["int8"] > vocabulary_bytes
    for folder in folders.values():
        (matrix,) = [
            one for one in _tables(folder) if one == vocabulary_bytes or one == 4 * vocabulary_bytes
        ]
        assert matrix


def _tables(folder: ModelFolder) -> set[int]:
    """Sizes of the places in the weight file that hold a vocabulary's worth of rows."""
    model = onnx.load(folder.model_file, load_external_data=False)
    places = {
        (entry["offset"], int(entry["length"]))
        for one in model.graph.initializer
        if one.dims and one.dims[0] == len(vocabulary()[0])
        for entry in [{item.key: item.value for item in one.external_data}]
        if entry
    }
    return {length for _, length in places}


def test_cards_say_what_the_import_cost(folders: Folders) -> None:
    for precision, folder in folders.items():
        card = folder.card
        assert card is not None
        assert card.quality is not None
        assert (card.precision, card.licence, card.context) == (precision, "apache-2.0", 256)
        assert card.parameters > 10_000
        assert card.quality.tokens == 256
    costs = {name: folder.card.quality.kl_divergence for name, folder in folders.items()}
    assert costs["fp32"] == 0
    assert 0 < costs["int8"] < costs["int4"]
    assert len({folder.card.version for folder in folders.values()}) == 3
