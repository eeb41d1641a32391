"""Tokenizers that would fill memory are refused before they run; those of real models are taken."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inference.models.tiny_folder import write_tiny_folder
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models import text as text_module
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.text import load_text
from llmrouter.inference.models.tokenizer_parts import read_parts, text_growth

FILE = Path("tokenizer.json")
DOUBLING = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
TWICE = {
    "type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}
FULL_MAP = base64.b64encode(b"\4\0\0\0" + bytes(4) + b"x" * 300 + b"\0").decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_folder(tmp_path / "tiny")


def changed(folder: Path, **parts: Any) -> Path:
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | parts))
    return folder


def sequence(inner: str, *steps: Any) -> dict[str, Any]:
    return {"type": "Sequence", inner: list(steps)}


def refusal(folder: Path) -> str:
    with pytest.raises(RouterError) as refused:
        load_text(read_folder(folder))
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    assert "tokenizer.json" in refused.value.message
    return refused.value.message


@pytest.mark.parametrize(
    ("part", "content", "named"),
    [
        ("normalizer", sequence("normalizers", *[DOUBLING] * 24), "may make 128 bytes of one"),
        ("normalizer", sequence("normalizers", sequence("normalizers", *[DOUBLING] * 9)), "128"),
        ("normalizer", {**DOUBLING, "content": "a" * 65}, "may make 65 bytes"),
        ("normalizer", {**DOUBLING, "pattern": {"Regex": "x*"}, "content": "y" * 40}, "may make"),
        ("normalizer", sequence("normalizers", *[{"type": "NFKD"}] * 5), "may make"),
        ("normalizer", sequence("normalizers", *[{"type": "Strip"}] * 65), "65 steps"),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": FULL_MAP}, "300 bytes"),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": "?"}, "no base64"),
        ("normalizer", {"type": "Swell"}, "is 'Swell'; known are NFC"),
        ("normalizer", {"normalizers": [DOUBLING]}, "is 'None'"),
        ("pre_tokenizer", sequence("pretokenizers", *[{"type": "ByteLevel"}] * 8), "may make"),
        ("decoder", sequence("decoders", *[DOUBLING] * 24), "may make 128 bytes of one"),
        ("post_processor", sequence("processors", *[TWICE] * 30), "repeats the text"),
        ("post_processor", {"type": "TemplateProcessing"}, "cannot be read (KeyError)"),
        ("normalizer", 7, "cannot be read"),
    ],
)
def test_parts_that_make_too_much_of_a_text_are_named(
    folder: Path, part: str, content: Any, named: str
) -> None:
    told = refusal(changed(folder, **{part: content}))
    assert f"has a {part} that" in told
    assert named in told


def test_a_part_that_stands_twice_is_refused_as_readers_differ_in_which_they_take(
    folder: Path,
) -> None:
    file = folder / "tokenizer.json"
    bomb = json.dumps(sequence("normalizers", *[DOUBLING] * 24))
    file.write_text(f'{{"normalizer": {bomb}, {file.read_text().lstrip()[1:]}')
    assert "'normalizer' stands twice" in refusal(folder)


@pytest.mark.timeout(30)
def test_the_last_of_many_entries_is_found_twice_in_one_pass() -> None:
    """One pass for each entry would take minutes."""
    entries = ",".join(f'"w{index}":{index}' for index in range(100_000))
    with pytest.raises(RouterError, match=r"tokenizer\.json: .*'w99999' stands twice"):
        read_parts(FILE, f'{{"vocab":{{{entries},"w99999":1}}}}'.encode())


def test_tokens_that_fill_an_answer_are_refused(folder: Path) -> None:
    file = folder / "tokenizer.json"
    parts = json.loads(file.read_text())
    parts["model"]["vocab"]["x" * 10_000] = len(parts["model"]["vocab"])
    file.write_text(json.dumps(parts))
    assert "a token of 10000 characters; at most 8192" in refusal(folder)


@pytest.mark.parametrize("content", ["x" * 256, "é" * 128])
def test_added_tokens_whose_search_would_fill_memory_are_refused(content: str) -> None:
    parts: dict[str, Any] = {"model": {"vocab": {}}, "added_tokens": [{"content": content}] * 4096}
    assert text_growth(FILE, parts) == 1
    parts["added_tokens"].append({"content": "y"})
    told = "has a list of added tokens that holds 1048577 bytes in 4097; at most 1048576"
    with pytest.raises(RouterError, match=told) as refused:
        text_growth(FILE, parts)
    assert refused.value.message.startswith("tokenizer.json: ")


def test_a_text_is_refused_by_what_the_tokenizer_may_make_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_module, "_MAX_TEXT_BYTES", 600)
    six = sequence("normalizers", DOUBLING, {**DOUBLING, "content": "aaa"})
    text = load_text(read_folder(changed(folder, normalizer=six)))
    assert len(text.encode("a" * 50)) == 300
    with pytest.raises(RouterError, match="is 51 bytes; tiny encodes at most 50") as refused:
        text.encode("a" * 51)
    assert refused.value.reason is Reason.INVALID_ARGUMENT


SPACES = normalizers.Replace(" ", "▁")
MAP = base64.b64encode(b"\4\0\0\0" + bytes(4) + b"abc\0").decode()
REAL = {
    "none": None,
    "llama": normalizers.Sequence([normalizers.Prepend("▁"), SPACES]),
    "gemma": SPACES,
    "qwen": normalizers.NFC(),
    "bert": normalizers.BertNormalizer(),
    "clip": normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    ),
    "albert": normalizers.Sequence(
        [
            normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
            normalizers.StripAccents(), normalizers.Lowercase(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    ),
    "bytes": normalizers.Sequence([normalizers.NFKC(), normalizers.ByteLevel()]),
    "trimmed": normalizers.Sequence([normalizers.Nmt(), normalizers.Strip()]),
}  # fmt: skip
CUTS = {
    "none": None,
    "gpt2": pre_tokenizers.ByteLevel(),
    "llama3": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\w+|\s"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
    "t5": pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    "digits": pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.Punctuation()]),
    "bert": pre_tokenizers.BertPreTokenizer(),
}


def tokenizer(normalizer: Any = None, cuts: Any = None) -> Tokenizer:
    made = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    if normalizer is not None:
        made.normalizer = normalizer
    if cuts is not None:
        made.pre_tokenizer = cuts
    return made


@given(
    name=st.sampled_from(sorted(REAL)),
    cuts=st.sampled_from(sorted(CUTS)),
    text=st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("aﷺİ 中ΐ")), max_size=40),
)
def test_no_text_grows_by_more_than_was_counted(name: str, cuts: str, text: str) -> None:
    made = tokenizer(REAL[name], CUTS[cuts])
    growth = text_growth(FILE, json.loads(made.to_str()))
    normalizer = made.normalizer
    normal = text if normalizer is None else normalizer.normalize_str(text)
    pieces = [normal]
    if made.pre_tokenizer is not None:
        pieces = [piece for piece, _ in made.pre_tokenizer.pre_tokenize_str(normal)]
    assert sum(len(piece.encode()) for piece in pieces) <= growth * max(1, len(text.encode()))


def test_parts_of_every_family_are_taken() -> None:
    made = tokenizer(REAL["albert"], CUTS["t5"])
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
            decoders.Strip(" ", 1, 0), decoders.WordPiece(), decoders.Metaspace(),
        ]
    )  # fmt: skip
    made.post_processor = processors.Sequence(
        [
            processors.ByteLevel(),
            processors.TemplateProcessing(single=["a", "$A", "a"], special_tokens=[("a", 0)]),
        ]
    )
    parts = json.loads(made.to_str())
    steps = parts["normalizer"]["normalizers"]
    steps.append({"type": "Precompiled", "precompiled_charsmap": MAP})
    assert text_growth(FILE, parts) > 1
    for decoder in (decoders.ByteLevel(), decoders.BPEDecoder(), decoders.CTC()):
        made.decoder = decoder
        assert text_growth(FILE, json.loads(made.to_str()))
    made.post_processor = processors.RobertaProcessing(("a", 0), ("a", 0))
    assert text_growth(FILE, json.loads(made.to_str()))
    unigram = Tokenizer(models.Unigram([("a", 0.0)], unk_id=0, byte_fallback=False))
    assert text_growth(FILE, json.loads(unigram.to_str())) == 1
