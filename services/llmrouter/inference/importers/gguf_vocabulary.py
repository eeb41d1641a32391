"""Reading the vocabulary of a GGUF: byte-level BPE with merges."""

from __future__ import annotations

from pathlib import Path

from llmrouter.inference.importers.gguf_check import bad_file
from llmrouter.inference.importers.gguf_fields import GgufFields
from llmrouter.inference.importers.tokenizer_files import PRE_TOKENIZERS, Vocabulary

__all__ = ["read_vocabulary"]


def read_vocabulary(path: Path, fields: GgufFields) -> Vocabulary:
    """Read and check the vocabulary.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the field that is wrong.
    """
    kind, pre = (
        fields.text("tokenizer.ggml.model"),
        fields.text("tokenizer.ggml.pre"),
    )
    if kind != "gpt2" or pre not in PRE_TOKENIZERS:
        raise bad_file(
            path,
            f"has the tokenizer '{kind}' / '{pre}'; supported is gpt2 with one of "
            f"{', '.join(PRE_TOKENIZERS)}",
        )
    tokens = fields.list("tokenizer.ggml.tokens", str)
    types = fields.list("tokenizer.ggml.token_type", int)
    if len(types) != len(tokens) or len(set(tokens)) != len(tokens):
        raise bad_file(path, "has a vocabulary with missing types or repeated tokens")
    template = fields.value("tokenizer.chat_template")
    return Vocabulary(
        tokens=tokens,
        types=types,
        merges=_merges(path, fields, tokens),
        pre_tokenizer=pre,
        bos=fields.token("bos", len(tokens)),
        eos=fields.number("tokenizer.ggml.eos_token_id", len(tokens) - 1, least=0),
        pad=fields.token("padding", len(tokens)),
        unknown=fields.token("unknown", len(tokens)),
        chat_template=template if isinstance(template, str) else None,
    )


def _merges(path: Path, fields: GgufFields, tokens: list[str]) -> list[str]:
    """Return the merges, each of two known tokens into a third."""
    merges, known = fields.list("tokenizer.ggml.merges", str), set(tokens)
    for merge in merges:
        left, _, right = merge.partition(" ")
        if not (left in known and right in known and left + right in known):
            raise bad_file(path, f"has the merge {merge[:80]!r} of unknown tokens")
    return merges
