"""Tokenizers that break, or make tokens that their model does not know."""

import json

import pytest
from tests.integration.embedding.tiny_encoder import WORDS, write_encoder
from tokenizers import Tokenizer

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.token_ids import probe_tokens


@pytest.fixture
def folder(tmp_path):
    return write_encoder(tmp_path / "tiny")


def probe(folder, **changes):
    content = json.loads((folder / "tokenizer.json").read_text()) | changes
    tokenizer = Tokenizer.from_str(json.dumps(content))
    return probe_tokens(folder, lambda text: tokenizer.encode(text).ids, len(WORDS))


def test_a_whole_tokenizer_tells_its_tokens(folder):
    assert max(probe(folder)) < len(WORDS)


def test_a_tokenizer_that_refuses_every_text_is_refused_by_its_file(folder):
    words = {word: at for at, word in enumerate(WORDS) if word != "[UNK]"}
    with pytest.raises(RouterError, match=r"tokenizer\.json: cannot encode") as refused:
        probe(folder, model={"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"})
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


def test_a_tokenizer_that_breaks_outside_of_pythons_exceptions_is_refused_too(folder):
    broken = {"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}
    with pytest.raises(RouterError, match=r"tokenizer\.json: cannot encode"):
        probe(folder, normalizer=broken)


def test_whoever_ends_the_program_is_not_held_up(folder):
    def leave(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe_tokens(folder, leave, 9)


def test_an_id_outside_the_vocabulary_is_refused(folder):
    with pytest.raises(RouterError, match=r"tokenizer\.json.*id 9 .*knows 9"):
        probe_tokens(folder, lambda _: [3, 9], 9)
