"""A GGUF's vocabulary becomes a tokenizer that cuts texts as llama.cpp cuts them."""

from __future__ import annotations

import http.client
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.models.test_families import converted
from tests.integration.models.tiny_decoder import DECODERS, random_weights
from tests.integration.models.writing_gguf import write_gguf
from tokenizers import pre_tokenizers

from llmrouter.inference.importers.llama_cpp import _serve
from llmrouter.inference.models.text import ModelText, load_text

pytest.importorskip("xllamacpp", reason="llama.cpp is asked through xllamacpp")

TEXTS = [
    "in the 12 days  of the theatre, don't!",
    "1969: def add(a, b):\n\treturn a + b  # don't\n\n",
    "Café, naïve, 東京, 🙂.",
    "   the\n\n\n the  ",
    "The the in In INTHE 1234567",
]
_MERGES = ["t h", "th e", "Ġ the", "Ġ a", "i n", "1 2", "12 3", "Ġ Ġ", "a n", "Ġ in"]


def bytes_vocabulary() -> dict[str, Any]:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<none>", "<start>", "<end>", *letters, *(one.replace(" ", "") for one in _MERGES)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3] + [1] * (len(tokens) - 3),
        "tokenizer.ggml.merges": _MERGES,
    }


def pieces_vocabulary(**fields: Any) -> dict[str, Any]:
    """SentencePiece: bytes, letters and what they join to, the best with the highest score."""
    letters = [*"▁abcdefghijklmnopqrstuvwxyzTIN123456790:,.!'()+#"]
    joined = ["th", "the", "▁the", "in", "▁in", "▁a", "an", "▁▁", "12", "he", "▁t"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{one:02X}>" for one in range(256)), *letters, *joined]
    scores = [0.0] * (259 + len(letters)) + [-float(one + 1) for one in range(len(joined))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * (len(letters) + len(joined)),
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.unknown_token_id": 0,
    } | fields


VOCABULARIES = {
    **{pre: bytes_vocabulary() | {"tokenizer.ggml.pre": pre}
       for pre in ("smollm", "gpt-2", "default", "qwen2", "llama-bpe")},
    "pieces": pieces_vocabulary(),
    "pieces-without-space": pieces_vocabulary(**{"tokenizer.ggml.add_space_prefix": False}),
    "pieces-without-begin": pieces_vocabulary(**{"tokenizer.ggml.add_bos_token": False}),
}  # fmt: skip


@pytest.fixture(params=VOCABULARIES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ModelText, Path]:
    fields = VOCABULARIES[request.param]
    count = len(fields["tokenizer.ggml.tokens"])
    decoder = replace(DECODERS["llama"], vocabulary=count, fields=fields)
    path = tmp_path / "tiny.gguf"
    write_gguf(path, decoder, random_weights(decoder))
    return load_text(converted(path)), path


def asked(server: Any, text: str) -> list[int]:
    body = json.dumps({"content": text, "add_special": True})
    place = server.listening_address.removeprefix("http://")
    connection = http.client.HTTPConnection(place, timeout=30)
    connection.request("POST", "/tokenize", body, {"Connection": "close"})
    found: list[int] = json.load(connection.getresponse())["tokens"]
    connection.close()
    return found


def test_texts_are_cut_as_llama_cpp_cuts_them(made: tuple[ModelText, Path]) -> None:
    text, path = made
    server = _serve(path, 64, 1)
    assert [text.encode(one) for one in TEXTS] == [asked(server, one) for one in TEXTS]


def test_tokens_give_the_text_back(made: tuple[ModelText, Path]) -> None:
    text, _ = made
    for one in TEXTS:
        tokens = text.encode(one)
        assert text.decode(tokens).strip() == one.strip()
        whole = b"".join(text.token_bytes[token] for token in tokens)
        assert whole.decode().strip() == one.strip()
