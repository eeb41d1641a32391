from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.models.tiny_folder import write_tiny_folder
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors

from llmrouter.inference.models import shared_tokenizer
from llmrouter.inference.models.folder import TOKENIZER_FILE, read_folder
from llmrouter.inference.models.shared_tokenizer import SharedTokenizer, share_tokenizer
from llmrouter.inference.models.text import load_text
from llmrouter.inference.models.token_bytes import token_bytes


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    return [write_tiny_folder(tmp_path / f"tiny@{label}") for label in ("v1", "v2")]


def test_versions_with_the_same_tokenizer_share_it(versions: list[Path]) -> None:
    size = read_folder(versions[0]).vocab_size
    one, other = (share_tokenizer(path, size) for path in versions)
    assert other is one


def test_another_file_or_another_vocabulary_makes_another_one(versions: list[Path]) -> None:
    size = read_folder(versions[0]).vocab_size
    changed = json.loads((versions[1] / TOKENIZER_FILE).read_text())
    changed["added_tokens"] = changed["added_tokens"][:-1]
    (versions[1] / TOKENIZER_FILE).write_text(json.dumps(changed))
    one, other = (share_tokenizer(path, size) for path in versions)
    wider = share_tokenizer(versions[0], size + 1)
    assert len({id(one), id(other), id(wider)}) == 3
    assert len(wider.token_bytes) == len(one.token_bytes) + 1


def test_nobody_holds_a_tokenizer_that_no_model_uses(versions: list[Path]) -> None:
    gc.collect()
    before = len(shared_tokenizer._held)
    texts = [load_text(read_folder(path)) for path in versions]
    assert len(shared_tokenizer._held) == before + 1
    del texts
    gc.collect()
    assert len(shared_tokenizer._held) == before


def test_bytes_of_tokens_are_those_that_the_tokenizer_tells(versions: list[Path]) -> None:
    size = read_folder(versions[0]).vocab_size
    shared = share_tokenizer(versions[0], size)
    assert shared.token_bytes == token_bytes(shared.tokenizer, size)
    assert shared.facts.longest_token_bytes >= max(map(len, shared.token_bytes))


def test_models_that_share_a_tokenizer_are_told_by_their_own_names(versions: list[Path]) -> None:
    one, other = (load_text(read_folder(path)) for path in versions)
    assert one is not other
    assert one.encode("hello") == other.encode("hello")


def read_again(tokenizer: Tokenizer) -> Tokenizer:
    """The plain one, made the long way."""
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True
    return plain


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> SharedTokenizer:
    """One with added tokens of all kinds: they swallow spaces, overlap, and lie past the others."""
    path = write_tiny_folder(tmp_path_factory.mktemp("models") / "tiny")
    tokenizer = Tokenizer.from_file(str(path / TOKENIZER_FILE))
    tokenizer.normalizer = normalizers.Replace("B", "b")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|start|> $A", special_tokens=[("<|start|>", 1)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken("<|pad|>", lstrip=True, rstrip=True), AddedToken("a<|b|>", normalized=True)]
    )
    tokenizer.add_tokens(
        [
            AddedToken("<|b|>c", normalized=False),
            AddedToken("|>a", single_word=True),
            AddedToken("<tool>", lstrip=True),
        ]
    )
    return SharedTokenizer(tokenizer, 1, tokenizer.get_vocab_size())


@given(
    parts=st.lists(
        st.one_of(
            st.sampled_from(
                ["<|start|>", "<|end|>", "<|pad|>", "a<|b|>", "<|b|>c", "|>a", "<tool>", " ", "the"]
            ),
            st.text(max_size=4),
        ),
        max_size=12,
    ),
    begin=st.booleans(),
)
def test_the_plain_one_makes_the_tokens_of_one_that_was_read_to_make_them(
    odd: SharedTokenizer, parts: list[str], begin: bool
) -> None:
    text = "".join(parts)
    expected = read_again(odd.tokenizer).encode(text, add_special_tokens=begin)
    got = odd.plain.encode(text, add_special_tokens=begin)
    assert (got.ids, got.offsets) == (expected.ids, expected.offsets)
    assert odd.plain.get_added_tokens_decoder() == odd.tokenizer.get_added_tokens_decoder()


def test_the_plain_one_has_no_vocabulary_of_its_own(versions: list[Path]) -> None:
    shared = share_tokenizer(versions[0], read_folder(versions[0]).vocab_size)
    shared.tokenizer.model.dropout = 0.5
    assert shared.plain.model.dropout == 0.5
