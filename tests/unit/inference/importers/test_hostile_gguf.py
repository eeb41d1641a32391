"""Files that lie are refused in a sentence, leave nothing and cost next to nothing."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.inference.importers.tiny_gguf import Tiny, vocabulary, write_tiny_gguf

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.importers import run
from llmrouter.inference.importers.gguf import GgufImporter
from llmrouter.inference.importers.gguf_header import read_header
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.models.text import load_text

TINY = Tiny(layers=1)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setattr(run, "find_importer", lambda *_: GgufImporter)
    return ModelStore(tmp_path / "store")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_tiny_gguf(path, TINY)
    return path.read_bytes()


def refusal(store: ModelStore, content: bytes | Path) -> str:
    source = content if isinstance(content, Path) else store.root.parent / "tiny.gguf"
    if isinstance(content, bytes):
        source.write_bytes(content)
    with pytest.raises(RouterError) as raised:
        run.import_checkpoint(source, "tiny", store, ["int8"])
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE
    assert "tiny.gguf" in raised.value.message
    assert not store.root.exists() or list(store.root.iterdir()) == []
    return raised.value.message


def patched(whole: bytes, at: int, layout: str, value: int) -> bytes:
    return whole[:at] + struct.pack(layout, value) + whole[at + struct.calcsize(layout) :]


def after(whole: bytes, name: str) -> int:
    """Position behind a name, where its type or shape begins."""
    return whole.index(struct.pack("<Q", len(name)) + name.encode()) + 8 + len(name)


@pytest.mark.parametrize("content", [b"", b"GGML" + b"\0" * 100, b"\0" * 1000])
def test_files_that_are_none(store: ModelStore, content: bytes) -> None:
    assert "is not a GGUF file" in refusal(store, content)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_before_it_is_opened(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """A pipe that nobody writes to would be waited for."""
    path = tmp_path / "tiny.gguf"
    make(path)
    with pytest.raises(RouterError, match=r"tiny\.gguf is not a file; give the path") as raised:
        read_header(path)
    assert raised.value.reason is Reason.MODEL_UNAVAILABLE


def test_a_file_that_ends_in_its_header(store: ModelStore) -> None:
    assert "4 bytes hold no GGUF header" in refusal(store, b"GGUF")


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_truncated_files(store: ModelStore, whole: bytes, share: float) -> None:
    assert refusal(store, whole[: int(len(whole) * share)])


@pytest.mark.parametrize("version", [0, 1, 4, 2**32 - 1, 3 << 24])
def test_unknown_versions(store: ModelStore, whole: bytes, version: int) -> None:
    assert f"version {version}" in refusal(store, patched(whole, 4, "<I", version))


@pytest.mark.parametrize("count", [2**16 + 1, 2**40, 2**64 - 1])
@pytest.mark.parametrize("at", [8, 16])
def test_absurd_counts(store: ModelStore, whole: bytes, at: int, count: int) -> None:
    assert "count" in refusal(store, patched(whole, at, "<Q", count))


@pytest.mark.parametrize("length", [10**9, 2**63, 2**64 - 1])
def test_strings_longer_than_the_file(store: ModelStore, whole: bytes, length: int) -> None:
    at = after(whole, "general.architecture") + 4
    assert "general.architecture" in refusal(store, patched(whole, at, "<Q", length))


@pytest.mark.parametrize("length", [10**7, 2**61, 2**64 - 1])
def test_arrays_longer_than_the_file(store: ModelStore, whole: bytes, length: int) -> None:
    at = after(whole, "tokenizer.ggml.tokens") + 8
    told = refusal(store, patched(whole, at, "<Q", length))
    assert f"'tokenizer.ggml.tokens' with {length} members, more than" in told
    assert "it may be cut off" in told


@pytest.mark.parametrize("kind", [13, 2**32 - 1])
def test_unknown_metadata_types(store: ModelStore, whole: bytes, kind: int) -> None:
    at = after(whole, "llama.block_count")
    assert "llama.block_count" in refusal(store, patched(whole, at, "<I", kind))


TENSOR = "blk.0.ffn_up.weight"


@pytest.mark.parametrize("offset", [10**7, 2**40, 2**63, 2**64 - 32])
def test_tensors_outside_of_the_file(store: ModelStore, whole: bytes, offset: int) -> None:
    said = refusal(store, patched(whole, after(whole, TENSOR) + 24, "<Q", offset))
    assert TENSOR in said
    assert str(offset) in said


def test_a_tensor_off_its_alignment_is_called_that(store: ModelStore, whole: bytes) -> None:
    at = after(whole, TENSOR) + 4 + 2 * 8 + 4
    told = refusal(store, patched(whole, at, "<Q", 7))
    assert f"'{TENSOR}' at 7, no multiple of its alignment 32; the file is damaged" in told


def test_what_makes_the_written_folder_refused_is_told_of_the_checkpoint(
    store: ModelStore,
) -> None:
    source = store.root.parent / "tiny.gguf"
    write_tiny_gguf(source, replace(TINY, fields={"tokenizer.chat_template": "{% for %}"}))
    told = refusal(store, source)
    assert told.startswith(
        "tiny.gguf becomes a model that is refused, tokenizer_config.json: the chat template does "
    )
    assert told.endswith("; import another checkpoint")
    assert ".importing" not in told


@pytest.mark.parametrize("length", [0, 2**31 + 1, 2**63, 2**64 - 1])
def test_tensors_of_absurd_shape(store: ModelStore, whole: bytes, length: int) -> None:
    assert TENSOR in refusal(store, patched(whole, after(whole, TENSOR) + 4, "<Q", length))


@pytest.mark.parametrize("dimensions", [0, 5, 2**32 - 1])
def test_tensors_of_absurd_dimensions(store: ModelStore, whole: bytes, dimensions: int) -> None:
    assert TENSOR in refusal(store, patched(whole, after(whole, TENSOR), "<I", dimensions))


@pytest.mark.parametrize("kind", [4, 99, 2**32 - 1])
def test_unknown_tensor_types(store: ModelStore, whole: bytes, kind: int) -> None:
    assert TENSOR in refusal(store, patched(whole, after(whole, TENSOR) + 20, "<I", kind))


def test_tensors_that_share_their_bytes(store: ModelStore, tmp_path: Path) -> None:
    """All tensors at one place: a small file that would be written out many times over."""
    path = tmp_path / "tiny.gguf"
    plain = replace(
        TINY, matrix_type=GGMLQuantizationType.F32, embedding_type=GGMLQuantizationType.F32
    )
    values = write_tiny_gguf(path, plain)
    raw = path.read_bytes()
    for name, value in values.items():
        raw = patched(raw, after(raw, name) + 4 + 8 * value.ndim + 4, "<Q", 0)
    every = sum(value.nbytes for value in values.values())
    largest = max(value.nbytes for value in values.values())
    assert "overlap" in refusal(store, raw[: len(raw) - every + largest])


def with_fields(tmp_path: Path, **fields: Any) -> Path:
    path = tmp_path / "tiny.gguf"
    named = {name.replace("__", "."): value for name, value in fields.items()}
    write_tiny_gguf(path, replace(TINY, fields=named))
    return path


TOKENS, TYPES = vocabulary()


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("general.architecture", "mamba", "mamba"),
        ("llama.block_count", 0, "llama.block_count"),
        ("llama.block_count", 2, "blk.1"),
        ("llama.attention.head_count", 3, "head size"),
        ("llama.attention.head_count", 64, "head size"),
        ("llama.attention.head_count_kv", 3, "key/value heads"),
        ("llama.embedding_length", "64", "llama.embedding_length"),
        ("llama.embedding_length", 128, "token_embd.weight"),
        ("llama.feed_forward_length", 100, "feed-forward"),
        ("llama.context_length", 2**21, "llama.context_length"),
        ("llama.rope.freq_base", float("nan"), "llama.rope.freq_base"),
        ("llama.rope.scaling.type", "longrope", "longrope"),
        ("llama.rope.dimension_count", 8, "rotates 8"),
        ("llama.expert_count", 4, "expert_count"),
        ("llama.attention.layer_norm_rms_epsilon", -1.0, "epsilon"),
        ("tokenizer.ggml.model", "bert", "supported are llama, and gpt2"),
        ("tokenizer.ggml.model", "llama", "tokenizer.ggml.scores"),
        ("tokenizer.ggml.add_bos_token", 2, "add_bos_token"),
        ("tokenizer.ggml.pre", "unheard-of", "unheard-of"),
        ("tokenizer.ggml.tokens", None, "tokenizer.ggml.tokens"),
        ("tokenizer.ggml.tokens", [1, 2, 3], "tokenizer.ggml.tokens"),
        ("tokenizer.ggml.tokens", ["a"] * len(TOKENS), "repeated"),
        ("tokenizer.ggml.token_type", [1, 2], "types"),
        ("tokenizer.ggml.token_type", None, "token_type"),
        ("tokenizer.ggml.merges", None, "merges"),
        ("tokenizer.ggml.merges", ["never seen"], "merge"),
        ("tokenizer.ggml.merges", ["nospace"], "merge"),
        ("tokenizer.ggml.eos_token_id", 10**6, "eos_token_id"),
        ("tokenizer.ggml.eos_token_id", None, "eos_token_id"),
        ("general.alignment", 3, "alignment"),
        ("general.alignment", 0, "alignment"),
    ],
)
def test_wrong_metadata_is_named(
    store: ModelStore, tmp_path: Path, field: str, value: Any, named: str
) -> None:
    fields = {field.replace(".", "__"): value}
    if field in ("general.architecture", "general.alignment"):
        path = with_fields(tmp_path)
        raw = path.read_bytes()
        if field == "general.architecture":
            raw = raw.replace(b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0mamba", 1)
        else:
            name = b"\x11\0\0\0\0\0\0\0general.alignment"
            extra = name + struct.pack("<II", 4, value)
            raw = patched(raw, 16, "<Q", struct.unpack_from("<Q", raw, 16)[0] + 1)
            raw = raw[:24] + extra + raw[24:]
        assert named in refusal(store, raw)
        return
    assert named in refusal(store, with_fields(tmp_path, **fields))


def substrings() -> dict[str, Any]:
    """A vocabulary of SentencePiece in which every way to cut a token gives two others."""
    others = [chr(0x4E00 + index) for index in range(len(TOKENS) - 256)]
    tokens = [*("a" * length for length in range(1, 257)), *others]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * len(tokens),
        "tokenizer.ggml.scores": [0.0] * len(tokens),
    }


def test_a_vocabulary_of_all_substrings_is_refused_before_its_merges_are_made(
    store: ModelStore, tmp_path: Path
) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf", replace(TINY, fields=substrings()))
    most = 16 * len(TOKENS)
    assert f"cut into two others in more than {most} ways" in refusal(store, tmp_path / "tiny.gguf")


def test_tensors_are_checked_before_merges_are_made(store: ModelStore, tmp_path: Path) -> None:
    lacking = replace(TINY, fields=substrings(), without=("blk.0.ffn_norm.weight",))
    write_tiny_gguf(tmp_path / "tiny.gguf", lacking)
    assert "blk.0.ffn_norm.weight" in refusal(store, tmp_path / "tiny.gguf")


@pytest.mark.parametrize(
    "name",
    ["token_embd.weight", "output_norm.weight", "blk.0.attn_k.weight", "blk.0.ffn_norm.weight"],
)
def test_missing_tensors_are_named(store: ModelStore, tmp_path: Path, name: str) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf", replace(TINY, without=(name,)))
    assert f"lacks the tensor '{name}'" in refusal(store, tmp_path / "tiny.gguf")


@pytest.mark.parametrize("row", [0, 37])
def test_weights_that_are_no_numbers_are_placed(store: ModelStore, whole: bytes, row: int) -> None:
    """Blocks of Q4_1 begin with a scale of 16 bits; a row of 64 has two blocks of 20 bytes."""
    source = store.root.parent / "tiny.gguf"
    source.write_bytes(whole)
    start = read_header(source).tensors[TENSOR].offset
    at = start + row * 40
    said = refusal(store, patched(whole, at, "<H", 0x7E00))
    assert f"'{TENSOR}' that are no numbers, from byte {at} on" in said


def test_unsupported_types_are_named_with_those_supported(store: ModelStore, whole: bytes) -> None:
    said = refusal(store, patched(whole, after(whole, TENSOR) + 20, "<I", 20))  # IQ4_NL
    assert "IQ4_NL" in said
    assert "Q4_1" in said


def test_other_files_are_refused_with_the_formats_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    store = ModelStore(tmp_path / "store")
    for source, named, reason in (
        (tmp_path / "notes.txt", "gguf", Reason.MODEL_UNAVAILABLE),
        (tmp_path / "none", "does not exist", Reason.INVALID_ARGUMENT),
    ):
        with pytest.raises(RouterError, match=named) as raised:
            run.import_checkpoint(source, "tiny", store)
        assert raised.value.reason is reason


def test_unknown_precisions_and_names(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "tiny.gguf").write_bytes(whole)
    store = ModelStore(tmp_path / "store")
    for name, precisions in (("tiny", ["int3"]), ("../tiny", ["int8"])):
        with pytest.raises(RouterError) as raised:
            run.import_checkpoint(tmp_path / "tiny.gguf", name, store, precisions)
        assert raised.value.reason is Reason.INVALID_ARGUMENT
    assert not store.root.exists()


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], None]:
    base, count = tmp_path_factory.mktemp("flips"), [0]

    def attempt(content: bytes) -> None:
        count[0] += 1
        target = base / str(count[0])
        target.mkdir()
        source = base / "tiny.gguf"
        source.write_bytes(content)
        GgufImporter.open(source).convert(target, "int8", silent)
        load_text(read_folder(target))

    return attempt


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_flipped_bytes_are_imported_or_refused(
    whole: bytes, convert: Callable[[bytes], None], data: st.DataObject
) -> None:
    """Flips fall into the header, which is everything that decides about memory and places."""
    header = after(whole, "blk.0.ffn_down.weight") + 32
    raw = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, header))
        raw[at] = data.draw(st.integers(0, 255))
    with suppress(RouterError):
        convert(bytes(raw))
