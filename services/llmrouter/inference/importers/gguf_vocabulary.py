"""Reading the vocabulary of a GGUF: byte-level BPE, or SentencePiece's BPE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from llmrouter.inference.importers.gguf_fields import GgufFields
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.importers.tokenizer_files import PRE_TOKENIZERS, Vocabulary

__all__ = ["read_vocabulary", "with_merges"]

_MAX_PIECE = 256
"""Characters of a piece of SentencePiece; its own limit is 16 unless asked."""
_MAX_MERGES = 2_000_000
_MERGES_PER_TOKEN = 16
"""Real vocabularies have two or three for each, 600,000 in all."""
_ALSO_CALLED = {
    "llama3": "llama-bpe", "llama-v3": "llama-bpe", "deepseek-r1-qwen": "qwen2",
}  # fmt: skip


def read_vocabulary(path: Path, fields: GgufFields) -> Vocabulary:
    """Read and check the vocabulary, but for its merges.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the field that is wrong.
    """
    pieces, pre = _kind(path, fields)
    tokens = fields.list("tokenizer.ggml.tokens", str)
    types = fields.list("tokenizer.ggml.token_type", int)
    if len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise bad_file(path, "has a vocabulary with missing types or repeated tokens")
    template = fields.value("tokenizer.chat_template")
    begins = pieces or pre == "llama-bpe"
    return Vocabulary(
        tokens=tokens,
        types=types,
        merges=(),
        pre_tokenizer=pre,
        bos=fields.token("bos", len(tokens)),
        eos=fields.number("tokenizer.ggml.eos_token_id", len(tokens) - 1, least=0),
        pad=fields.token("padding", len(tokens)),
        unknown=fields.token("unknown", len(tokens)),
        chat_template=template if isinstance(template, str) else None,
        adds_bos=fields.flag("tokenizer.ggml.add_bos_token", default=begins),
        prefix_space=pieces and fields.flag("tokenizer.ggml.add_space_prefix", default=True),
    )


def with_merges(path: Path, fields: GgufFields, vocabulary: Vocabulary) -> Vocabulary:
    """Return a vocabulary with its merges, which may be many: check all else before.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the field that is wrong.
    """
    read = _derived if vocabulary.pre_tokenizer is None else _merges
    return replace(vocabulary, merges=read(path, fields, vocabulary.tokens))


def _kind(path: Path, fields: GgufFields) -> tuple[bool, str | None]:
    """Return whether the tokens are SentencePiece's pieces, and else how texts are split."""
    kind = fields.text("tokenizer.ggml.model")
    if kind == "llama":
        return True, None
    told = fields.text("tokenizer.ggml.pre")
    pre = _ALSO_CALLED.get(told, told)
    if kind != "gpt2" or pre not in PRE_TOKENIZERS:
        raise bad_file(
            path,
            f"has the tokenizer '{kind}' / '{told}'; supported are llama, and gpt2 with one of "
            f"{', '.join(PRE_TOKENIZERS)}",
        )
    return False, pre


def _merges(path: Path, fields: GgufFields, tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Return the merges, each of two known tokens into a third."""
    merges, known = [], set(tokens)
    for merge in fields.list("tokenizer.ggml.merges", str):
        left, _, right = merge.partition(" ")
        if not (left in known and right in known and left + right in known):
            raise bad_file(path, f"has the merge {merge[:80]!r} of unknown tokens")
        merges.append((left, right))
    return merges


def _derived(path: Path, fields: GgufFields, tokens: Sequence[str]) -> list[tuple[str, str]]:
    """Return the merges that SentencePiece's scores stand for.

    It joins the two neighbours whose piece has the highest score: every way to cut a piece in two
    known ones is a merge, in the order of scores.
    """
    scores = fields.list("tokenizer.ggml.scores", float)
    if len(scores) != len(tokens):
        raise bad_file(path, "has a 'tokenizer.ggml.scores' of another length than its tokens")
    longest = max(map(len, tokens))
    if longest > _MAX_PIECE:
        raise bad_file(path, f"has a token of {longest} characters; at most {_MAX_PIECE}")
    ids = {token: index for index, token in enumerate(tokens)}
    most = min(_MAX_MERGES, _MERGES_PER_TOKEN * len(tokens))
    if sum(1 for _ in islice(_known_cuts(tokens, ids), most + 1)) > most:
        raise bad_file(
            path,
            f"has tokens that are cut into two others in more than {most} ways, "
            f"{_MERGES_PER_TOKEN} for each and {_MAX_MERGES} in all",
        )
    found = [
        (-scores[index], -len(left), -len(right), ids[left], ids[right])
        for index, left, right in _known_cuts(tokens, ids)
    ]
    return [(tokens[left], tokens[right]) for *_, left, right in sorted(found)]


def _known_cuts(tokens: Sequence[str], ids: Mapping[str, int]) -> Iterator[tuple[int, str, str]]:
    """Return every token's index with the two known ones that it can be cut into."""
    for index, token in enumerate(tokens):
        for at in range(1, len(token)):
            if token[:at] in ids and token[at:] in ids:
                yield index, token[:at], token[at:]
