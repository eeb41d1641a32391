"""Reading the vocabulary of a GGUF: byte-level BPE, or SentencePiece's BPE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from llmrouter.inference.importers.gguf_fields import GgufFields
from llmrouter.inference.importers.refusal import bad_file
from llmrouter.inference.importers.tokenizer_files import PRE_TOKENIZERS, Vocabulary

__all__ = ["read_vocabulary"]

_MAX_PIECE = 256
"""Characters of a piece of SentencePiece; its own limit is 16 unless asked."""
_ALSO_CALLED = {
    "llama3": "llama-bpe", "llama-v3": "llama-bpe", "deepseek-r1-qwen": "qwen2",
}  # fmt: skip


def read_vocabulary(path: Path, fields: GgufFields) -> Vocabulary:
    """Read and check the vocabulary.

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
        merges=_derived(path, fields, tokens) if pieces else _merges(path, fields, tokens),
        pre_tokenizer=pre,
        bos=fields.token("bos", len(tokens)),
        eos=fields.number("tokenizer.ggml.eos_token_id", len(tokens) - 1, least=0),
        pad=fields.token("padding", len(tokens)),
        unknown=fields.token("unknown", len(tokens)),
        chat_template=template if isinstance(template, str) else None,
        adds_bos=fields.flag("tokenizer.ggml.add_bos_token", default=begins),
        prefix_space=pieces and fields.flag("tokenizer.ggml.add_space_prefix", default=True),
    )


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
    found = [
        (-scores[index], -len(left), -len(right), ids[left], ids[right])
        for index, token in enumerate(tokens)
        for left, right in _cuts(token)
        if left in ids and right in ids
    ]
    return [(tokens[left], tokens[right]) for *_, left, right in sorted(found)]


def _cuts(token: str) -> Iterator[tuple[str, str]]:
    return ((token[:at], token[at:]) for at in range(1, len(token)))
