"""Every family that CTranslate2 computes means the same there, written from either format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.integration.models.numpy_decoder import decoder_logits
from tests.integration.models.tiny_decoder import DECODERS, Decoder, in_gguf, random_weights
from tests.integration.models.writing_folder import write_folder
from tests.integration.models.writing_gguf import write_gguf

ctranslate2 = pytest.importorskip("ctranslate2", reason="needs the extra `ctranslate2`")

from llmrouter.common.errors import Reason, RouterError  # noqa: E402
from llmrouter.inference.importers.base import find_importer  # noqa: E402
from llmrouter.inference.importers.run import import_checkpoint  # noqa: E402
from llmrouter.inference.models.ctranslate2_folder import CTranslate2Folder  # noqa: E402
from llmrouter.inference.models.progress import silent  # noqa: E402
from llmrouter.inference.models.reading import read_model  # noqa: E402
from llmrouter.inference.models.store import ModelStore  # noqa: E402

TOKENS = [int(one) for one in np.random.default_rng(2).integers(3, 264, 40)]
LACKING = {
    "mistral-window": "look back a part of the way",
    "qwen2-yarn": "scaled cosines and sines",
    "gemma2": "capped scores",
    "phi3": "look back a part of the way",
    "phi3-longrope": "scaled cosines and sines",
}
COMPUTED = [name for name in DECODERS if name not in LACKING]


def written(source: Path, importer: str, precision: str = "fp32") -> CTranslate2Folder:
    target = source.parent / "made"
    target.mkdir()
    find_importer(source, importer).open(source).convert(target, precision, silent)
    folder = read_model(target)
    assert isinstance(folder, CTranslate2Folder)
    return folder


def logits_of(folder: CTranslate2Folder) -> np.ndarray:
    generator = ctranslate2.Generator(str(folder.path), compute_type="float32")
    words = [folder.tokens[one] for one in TOKENS]
    return np.asarray(generator.forward_batch([words]))[0]


@pytest.mark.parametrize("name", COMPUTED)
def test_a_hugging_face_folder_means_the_same(tmp_path: Path, name: str) -> None:
    decoder = DECODERS[name]
    weights = write_folder(tmp_path / "folder", decoder, random_weights(decoder))
    found = logits_of(written(tmp_path / "folder", "huggingface-ctranslate2"))
    assert np.abs(found - decoder_logits(weights, decoder, TOKENS)).max() < 1e-3


@pytest.mark.parametrize("name", COMPUTED)
def test_a_gguf_means_the_same(tmp_path: Path, name: str) -> None:
    decoder = in_gguf(DECODERS[name])
    weights = write_gguf(tmp_path / "tiny.gguf", decoder, random_weights(decoder))
    found = logits_of(written(tmp_path / "tiny.gguf", "gguf-ctranslate2"))
    assert np.abs(found - decoder_logits(weights, decoder, TOKENS)).max() < 1e-3


@pytest.mark.parametrize(("name", "told"), LACKING.items())
def test_what_it_does_not_compute_is_refused_by_name(tmp_path: Path, name: str, told: str) -> None:
    decoder: Decoder = DECODERS[name]
    write_folder(tmp_path / "folder", decoder, random_weights(decoder))
    with pytest.raises(RouterError, match=told) as raised:
        find_importer(tmp_path / "folder", "huggingface-ctranslate2").open(tmp_path / "folder")
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE


def test_a_folder_is_imported_in_both_precisions_with_its_card(tmp_path: Path) -> None:
    decoder = DECODERS["qwen2"]
    write_folder(tmp_path / "folder", decoder, random_weights(decoder))
    store = ModelStore(tmp_path / "store")
    made = import_checkpoint(tmp_path / "folder", "tiny", store, importer="huggingface-ctranslate2")
    assert [one.path.name for one in made] == ["tiny-int8", "tiny-fp32"]
    assert [one.card.parameters > 50_000 for one in made] == [True, True]
    assert made[0].architecture == "qwen2"
