"""llama.cpp, which reads the checkpoint itself, finds what the imported folder finds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.integration.models.numpy_decoder import decoder_logits
from tests.integration.models.tiny_decoder import DECODERS, in_gguf, random_weights
from tests.integration.models.writing_gguf import write_gguf
from tests.unit.inference.importers.tiny_gguf import vocabulary
from typer.testing import CliRunner

from llmrouter.cli.__main__ import app
from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers.llama_cpp import write_judgement
from llmrouter.inference.importers.run import import_checkpoint
from llmrouter.inference.importers.verification import verify
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.store import ModelStore

pytest.importorskip("xllamacpp", reason="llama.cpp is asked through xllamacpp")

TOKENS = [int(one) for one in np.random.default_rng(2).integers(3, 264, 24)]
# llama.cpp looks at all that came before in Phi-3, and takes its long factors here.
PHI3 = replace(DECODERS["phi3"], windows=(), config={})
JUDGED = {
    name: in_gguf(decoder)
    for name, decoder in DECODERS.items()
    if name not in {"mistral-window", "phi3", "phi3-longrope"}
} | {"phi3": PHI3}


@pytest.mark.parametrize("name", JUDGED)
def test_llama_cpp_agrees_with_numpy_on_every_family(tmp_path: Path, name: str) -> None:
    decoder, words = JUDGED[name], [token.encode() for token in vocabulary()[0]]
    weights = write_gguf(tmp_path / "tiny.gguf", decoder, random_weights(decoder))
    write_judgement(tmp_path / "tiny.gguf", TOKENS, words, tmp_path / "judged", 1, silent)
    judged = np.fromfile(tmp_path / "judged", np.float32).reshape(len(TOKENS), -1)
    logits = decoder_logits(weights, decoder, TOKENS)
    shifted = logits - logits.max(axis=1, keepdims=True)
    exact = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    # llama.cpp keeps keys and values in half precision.
    assert np.abs(judged - exact).max() < 0.2
    assert (judged.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.9


def test_what_llama_cpp_says_is_written_into_the_cards(tmp_path: Path) -> None:
    decoder, store = DECODERS["qwen2"], ModelStore(tmp_path / "store")
    write_gguf(tmp_path / "tiny.gguf", decoder, random_weights(decoder))
    import_checkpoint(tmp_path / "tiny.gguf", "tiny", store, ["fp32", "int8"])
    found = verify(["tiny-fp32", "tiny-int8"], tmp_path / "tiny.gguf", store, positions=16)
    for folder in found:
        assert folder.card is not None
        assert folder.card.verified is not None
        assert folder.card.verified.engine == "llama.cpp"
        assert folder.card.verified.quality.tokens == 16
        assert folder.card.verified.quality.kl_divergence < 0.5
        assert folder.card.quality is not None
    assert store.folder("tiny-fp32").card == found[0].card


def test_another_checkpoint_is_refused(tmp_path: Path) -> None:
    decoder, store = DECODERS["llama"], ModelStore(tmp_path / "store")
    write_gguf(tmp_path / "tiny.gguf", decoder, random_weights(decoder))
    import_checkpoint(tmp_path / "tiny.gguf", "tiny", store, ["fp32"])
    write_gguf(tmp_path / "other.gguf", decoder, random_weights(decoder, seed=9))
    with pytest.raises(RouterError, match=r"came from tiny\.gguf") as raised:
        verify(["tiny-fp32"], tmp_path / "other.gguf", store)
    assert raised.value.reason is Reason.INVALID_ARGUMENT
    with pytest.raises(RouterError, match="must be 8 to 512"):
        verify(["tiny-fp32"], tmp_path / "tiny.gguf", store, positions=4)


def test_the_command_verifies_every_precision_that_is_here(tmp_path: Path) -> None:
    decoder, store = DECODERS["llama"], ModelStore(tmp_path / "store")
    write_gguf(tmp_path / "tiny.gguf", decoder, random_weights(decoder))
    import_checkpoint(tmp_path / "tiny.gguf", "tiny", store, ["fp32", "int8"])
    place = ("--checkpoint", str(tmp_path / "tiny.gguf"), "--store", str(store.root))
    done = CliRunner().invoke(app, ["models", "verify", "tiny", *place, "--positions", "8"])
    assert done.exit_code == 0
    assert "tiny-fp32" in done.stdout
    assert "tiny-int8" in done.stdout
    listed = CliRunner().invoke(app, ["models", "list", "--store", str(store.root), "--json"])
    models = json.loads(listed.stdout)["models"]
    assert [one["verified"]["engine"] for one in models] == ["llama.cpp", "llama.cpp"]
    import_checkpoint(tmp_path / "tiny.gguf", "tiny@v2", store, ["int8"])
    done = CliRunner().invoke(app, ["models", "verify", "tiny@v2", *place, "--positions", "8"])
    assert (done.exit_code, "tiny-int8@v2" in done.stdout) == (0, True)
    assert "tiny-fp32" not in done.stdout
    assert CliRunner().invoke(app, ["models", "verify", "none", *place]).exit_code != 0
    done = CliRunner().invoke(app, ["models", "verify", "tiny", *place[2:]])
    assert (done.exit_code, "give --checkpoint with the GGUF" in done.stderr) == (1, True)
