"""How much a tokenizer's parts can make of a text, known before one of them is run.

A file of a few KB can ask for what fills any memory: a normalizer that writes two letters for one,
twenty times over. The tokenizers library runs them as soon as it reads the file, and ends the
process when memory does. So the parts are read first, and each counts for what it can do at worst,
in bytes of UTF-8; the factors of Unicode's forms are those of its FAQ on normalization.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmrouter.inference.models.untrusted_json import broken_file

__all__ = ["read_parts", "text_growth"]

_REMEDY = "import the model again"
_MAX_STEPS = 64
_MAX_GROWTH = 1 << 14
"""Of a text by all parts together; those of real models have about 13,000 at most, on paper."""
_MAX_WRITTEN = 64
"""Of what a file says itself to write for something else; real ones have below 16."""
_MAX_SPECIAL = 64
"""Control tokens around a text."""
_LONGEST_TOKEN = 8192
_MAX_ADDED = 1 << 20
"""Bytes of all added tokens: the library's search for them takes 200 times as many at worst. Those
of models that speak, with 65,536 of them, have 700,000."""
_LONGEST_MAPPED = 256
"""Bytes that a precompiled map of characters gives for one; Unicode's own gives 33."""

_Step = Mapping[str, Any]


class _RefusedError(ValueError):
    """A part that is not taken, told in a sentence."""


def read_parts(file: Path, content: bytes) -> dict[str, Any]:
    """Return the object that tokenizer.json holds; where a name stands twice, readers differ.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file.
    """
    try:
        parts = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise broken_file(file, f"is not a tokenizer ({error})", _REMEDY) from error
    if not isinstance(parts, dict):
        raise broken_file(file, "is not a tokenizer (it must be one JSON object)", _REMEDY)
    return parts


def text_growth(file: Path, parts: _Step) -> int:
    """Return how many bytes a tokenizer may make of one byte of a text, at worst.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the part that is unknown, or makes too much of a text.
    """
    part = "normalizer"
    try:
        growth = _growth(parts.get(part), "normalizers", _NORMALIZERS)
        part = "pre_tokenizer"
        growth *= _growth(parts.get(part), "pretokenizers", _PRE_TOKENIZERS)
        part = "decoder"
        _growth(parts.get(part), "decoders", _DECODERS)
        part = "post_processor"
        _growth(parts.get(part), "processors", _PROCESSORS)
        part = "model"
        _check_tokens(parts)
        part = "list of added tokens"
        _check_added(parts)
    except _RefusedError as error:
        raise broken_file(file, f"has a {part} that {error}", _REMEDY) from None
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        problem = f"has a {part} that cannot be read ({type(error).__name__})"
        raise broken_file(file, problem, _REMEDY) from error
    if growth > _MAX_GROWTH:
        raise broken_file(file, f"may make {growth} bytes of one; at most {_MAX_GROWTH}", _REMEDY)
    return growth


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:40]!r} stands twice in one object")
        found[name] = value
    return found


def _growth(part: Any, inner: str, known: Mapping[str, Callable[[_Step], int]]) -> int:
    """Return the product of what the steps of a part can do."""
    growth = written = 1
    for count, step in enumerate(_steps(part, inner), 1):
        kind = str(step.get("type"))
        if kind not in known:
            raise _RefusedError(f"is {kind[:40]!r}; known are {', '.join(known)}")
        factor = known[kind](step)
        growth *= factor
        written *= factor if kind in ("Replace", "Prepend") else 1
        if count > _MAX_STEPS or growth > _MAX_GROWTH or written > _MAX_WRITTEN:
            raise _RefusedError(
                f"may make {growth} bytes of one in {count} steps, {written} by replacements; "
                f"at most {_MAX_GROWTH} in {_MAX_STEPS} steps, {_MAX_WRITTEN} by replacements"
            )
    return growth


def _steps(part: Any, inner: str) -> Iterator[_Step]:
    """Return a part, or the parts of a sequence, in their order."""
    waiting = [] if part is None else [part]
    while waiting:
        step = waiting.pop()
        if step.get("type") == "Sequence":
            waiting += reversed(step[inner])
        else:
            yield step


def _size(text: Any) -> int:
    return len(str(text).encode(errors="surrogatepass"))


def _replaced(step: _Step) -> int:
    content, pattern = _size(step["content"]), step["pattern"]
    size = _size(pattern["String"]) if "String" in pattern else 0
    # A regular expression may match nothing at all, before and behind every letter.
    return max(1, math.ceil(content / size)) if size else 1 + 2 * content


def _mapped(step: _Step) -> int:
    """Return the longest text in SentencePiece's map: its trie, then texts that each end in NUL."""
    packed = step.get("precompiled_charsmap")
    if not packed:
        return 1
    try:
        content = base64.b64decode(packed, validate=True)
    except binascii.Error as error:
        raise _RefusedError(f"has a map that is no base64 ({error})") from None
    trie = int.from_bytes(content[:4], "little")
    longest = max(map(len, content[4 + trie :].split(b"\0")))
    if longest > _LONGEST_MAPPED:
        raise _RefusedError(f"maps a character to {longest} bytes; at most {_LONGEST_MAPPED}")
    return max(1, longest)


def _written_around(step: _Step) -> int:
    """Return 1 for a template that has the text once and few control tokens around."""
    single = step["single"]
    if sum("Sequence" in one for one in single) > 1:
        raise _RefusedError("repeats the text")
    tokens = step.get("special_tokens", {})
    listed = tokens.values() if isinstance(tokens, dict) else tokens
    if len(single) > _MAX_SPECIAL or any(len(one["ids"]) > _MAX_SPECIAL for one in listed):
        raise _RefusedError(f"puts more than {_MAX_SPECIAL} tokens around a text")
    return 1


def _always(factor: int) -> Callable[[_Step], int]:
    return lambda _: factor


_NORMALIZERS: Mapping[str, Callable[[_Step], int]] = {
    "NFC": _always(3),
    "NFD": _always(3),
    "NFKC": _always(11),
    "NFKD": _always(11),
    "Lowercase": _always(2),
    "Strip": _always(1),
    "StripAccents": _always(1),
    "Nmt": _always(1),
    "ByteLevel": _always(2),
    "BertNormalizer": _always(8),
    "Prepend": lambda step: 1 + _size(step["prepend"]),
    "Replace": _replaced,
    "Precompiled": _mapped,
}
_PRE_TOKENIZERS: Mapping[str, Callable[[_Step], int]] = {
    "ByteLevel": lambda step: 4 if step.get("add_prefix_space", True) else 2,
    "Metaspace": lambda step: 2 * max(1, _size(step.get("replacement", "▁"))),
    **dict.fromkeys(
        (
            "BertPreTokenizer", "CharDelimiterSplit", "Delimiter", "Digits", "FixedLength",
            "Punctuation", "Split", "UnicodeScripts", "Whitespace", "WhitespaceSplit",
        ),
        _always(1),
    ),
}  # fmt: skip
_DECODERS: Mapping[str, Callable[[_Step], int]] = {
    "ByteLevel": _always(3),
    "ByteFallback": _always(1),
    "Fuse": _always(1),
    "Strip": _always(1),
    "Metaspace": _always(1),
    "WordPiece": _always(2),
    "BPEDecoder": _always(3),
    "CTC": _always(3),
    "Replace": _replaced,
}
_PROCESSORS: Mapping[str, Callable[[_Step], int]] = {
    "BertProcessing": _always(1),
    "RobertaProcessing": _always(1),
    "ByteLevel": _always(1),
    "TemplateProcessing": _written_around,
}


def _check_tokens(parts: _Step) -> None:
    """Refuse tokens that an answer of a few of them would be too long with."""
    vocabulary = parts["model"]["vocab"]
    if not isinstance(vocabulary, dict):
        vocabulary = [piece for piece, _ in vocabulary]
    added = [token["content"] for token in parts.get("added_tokens") or ()]
    longest = max((len(one) for one in [*vocabulary, *added]), default=0)
    if longest > _LONGEST_TOKEN:
        raise _RefusedError(f"has a token of {longest} characters; at most {_LONGEST_TOKEN}")


def _check_added(parts: _Step) -> None:
    """Refuse more added tokens than may be searched for in every text."""
    sizes = [_size(token["content"]) for token in parts.get("added_tokens") or ()]
    if sum(sizes) > _MAX_ADDED:
        raise _RefusedError(f"holds {sum(sizes)} bytes in {len(sizes)}; at most {_MAX_ADDED}")
