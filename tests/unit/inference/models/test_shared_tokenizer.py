from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
from tests.unit.inference.models.tiny_folder import write_tiny_folder

from llmrouter.inference.models import shared_tokenizer
from llmrouter.inference.models.folder import TOKENIZER_FILE, read_folder
from llmrouter.inference.models.shared_tokenizer import share_tokenizer
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
