"""What the selector may know of a prompt beyond its size: a small, fixed sketch instead of text.

Computed where the text is (the gateway); no text leaves it. Two parts, one byte per number:

- `shape`: how the text is built (lengths, shares of kinds of characters, question words, code,
  choices), each scaled to 0..255. See `SHAPE` for the names.
- `sketch`: a signed count sketch of its words and marks, without their order (Charikar, Chen,
  Farach-Colton 2002; "feature hashing", Weinberger et al. 2009), its largest number 127. All words
  of a language share its numbers: the cosine of two sketches tells how much two texts have in
  common, and the text cannot be read from one. It is a summary, not an encryption: whoever guesses
  a text can check the guess.

A prompt of any length becomes `len(SHAPE)` + `SKETCH_SIZE` bytes; at most `MAX_CHARACTERS` of it
are read, half from its beginning and half from its end.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmrouter.common.generation import GenerationRequest, Role

__all__ = [
    "MAX_CHARACTERS",
    "SHAPE",
    "SKETCH_SIZE",
    "VERSION",
    "PromptFeatures",
    "features_of",
    "question_text",
]

VERSION = 1
"""Changes with any change of what the numbers mean; features of versions never mix."""
SKETCH_SIZE = 512
"""Numbers in a sketch."""
MAX_CHARACTERS = 8192
"""Characters of a prompt that are looked at."""

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_TOKEN = re.compile(r"[^\W_]+|[^\w\s]")
_CHOICE = re.compile(r"^[ \t]*(?:\(?[A-Ha-h1-9][.):]|[-*•])[ \t]+(.*)$", re.MULTILINE)
_DIGITS = re.compile(r"[0-9]+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_PATTERNS = {
    "negation": r"\b(?:not|except|never|least|without|cannot|n't)\b",
    "absolute": r"\b(?:all|always|none|only|every|both|neither|each)\b",
    "compares": r"\b(?:most|more|less|best|greater|better|than|highest|lowest|largest)\b",
    "supposes": r"\b(?:if|suppose|assume|given|let|consider|imagine)\b",
    "computes": r"\b(?:calculate|compute|find|solve|evaluate|determine|how many|how much|sum)\b",
    "explains": r"\b(?:explain|describe|why|discuss|compare|because|reason)\b",
    "writes": r"\b(?:write|implement|create|generate|compose|draft|code|function)\b",
    "rewrites": r"\b(?:translate|summari[sz]e|rewrite|correct|edit|list|extract|classify)\b",
    "defines": r"\b(?:define|definition|called|known as|term|refers? to|means?)\b",
    "judges": r"\b(?:should|ought|wrong|right|true|false|correct|incorrect|statement)\b",
    "cites": r"\b(?:according|following|passage|text|information|above|below|excerpt)\b",
    "asks_what": r"\bwhat\b",
    "asks_which": r"\bwhich\b",
    "asks_who": r"\b(?:who|whose|whom)\b",
    "asks_when": r"\b(?:when|year|date|century)\b",
    "asks_how": r"\bhow\b",
    "blank": r"_{2,}",
    "code": r"```|\bdef \w+\(|\breturn\b|[{};]\s*$|=>|\bclass \w+|\bimport \w+|==",
    "formula": r"\$[^$]+\$|\\[a-z]+|\^|\b[a-z]\([a-z0-9]\)|[a-z0-9]\s?=\s?[-a-z0-9]",
    "quotation": r"[\"“”«»]",
}
_COMPILED = {name: re.compile(p, re.IGNORECASE | re.MULTILINE) for name, p in _PATTERNS.items()}
_COMMON = frozenset(
    _WORD.findall(
        "the of and a an to in is was are were be been that this these those it its for on with as "
        "at by from or but not which who what has have had will would can could may one two all "
        "more if then there their they he she his her you your we i my me do does did so than into"
    )
)
_PERSONAL = frozenset(_WORD.findall("i me my mine he she his her him you your we our us they them"))
_MEASURES = (
    "characters", "words", "lines", "sentences", "word_length", "longest_word", "distinct_words",
    "common_words", "long_words", "personal_words", "digits", "capitals", "operators", "brackets",
    "commas", "punctuation", "non_ascii", "numbers", "largest_number", "question_marks",
    "ends_asking", "ends_open", "stem", "choices", "choice_length", "longest_choice",
    "choice_spread", "choices_with_digits", "words_per_sentence",
)  # fmt: skip
SHAPE: tuple[str, ...] = (*_MEASURES, *_PATTERNS)
"""Names of the numbers in a shape, in their order."""


@dataclass(frozen=True, slots=True)
class PromptFeatures:
    """A prompt without its text."""

    shape: bytes
    """One unsigned byte per name in `SHAPE`."""
    sketch: bytes
    """`SKETCH_SIZE` signed bytes."""
    version: int = VERSION


def question_text(request: GenerationRequest) -> str:
    """Return the text that a request's difficulty is read from: the last turn of the user."""
    if not request.messages:
        return request.prompt
    asked = (one.text for one in reversed(request.messages) if one.role is Role.USER)
    return next(asked, request.messages[-1].text)


def features_of(text: str) -> PromptFeatures:
    """Return the features of a prompt; takes well below a millisecond for a page of text."""
    if len(text) > MAX_CHARACTERS:
        text = text[: MAX_CHARACTERS // 2] + text[-MAX_CHARACTERS // 2 :]
    values = np.array([*_measures(text), *_matches(text)])
    shape = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return PromptFeatures(shape.tobytes(), _sketch(text).tobytes())


def _log(value: float, most: float) -> float:
    """Scale 0..`most` to 0..1 by its logarithm."""
    return math.log1p(max(0.0, value)) / math.log1p(most)


def _share(count: float, of: float) -> float:
    """Return the square root of a share, which keeps small shares apart."""
    return math.sqrt(count / of) if of else 0.0


def _measures(text: str) -> Iterable[float]:
    lower = [word.lower() for word in _WORD.findall(text)]
    words, size = len(lower), len(text)
    sentences = 1 + len(re.findall(r"[.!?](?:\s|$)", text))
    lengths = [len(word) for word in lower] or [0]
    numbers = _NUMBER.findall(text)
    largest = max((float(one[:9]) for one in _DIGITS.findall(text)), default=0.0)
    yield _log(size, MAX_CHARACTERS)
    yield _log(words, 2000)
    yield _log(text.count("\n"), 200)
    yield _log(sentences, 200)
    yield sum(lengths) / max(1, words) / 12
    yield _log(max(lengths), 40)
    yield len(set(lower)) / max(1, words)
    yield sum(word in _COMMON for word in lower) / max(1, words)
    yield _share(sum(length > 8 for length in lengths), words)
    yield _share(sum(word in _PERSONAL for word in lower), words)
    yield from _characters(text, size)
    yield _log(len(numbers), 50)
    yield _log(largest, 1e9)
    yield _log(text.count("?"), 10)
    end = text.rstrip()
    yield float(end.endswith("?"))
    yield float(end.endswith((":", "_", ",")))
    yield from _choices(text)
    yield _log(words / sentences, 100)


def _characters(text: str, size: int) -> Iterable[float]:
    yield _share(sum(map(str.isdigit, text)), size)
    yield _share(sum(map(str.isupper, text)), size)
    for kind in (
        "+-*/=<>^%|\\~",
        "()[]{}",
        ",;:",
        ".!?'\"`",
    ):
        yield _share(sum(map(text.count, kind)), size)
    yield _share(size - len(text.encode("ascii", "ignore")), size)


def _choices(text: str) -> Iterable[float]:
    """Measure the lines that look like choices or items, and the text before the first."""
    found = list(_CHOICE.finditer(text))
    lengths = np.array([len(one[1]) for one in found] or [0], np.float64)
    yield _log(found[0].start() if found else len(text), MAX_CHARACTERS)
    yield _log(len(found), 20)
    yield _log(float(lengths.mean()), 1000)
    yield _log(float(lengths.max()), 1000)
    yield float(lengths.std() / (1 + lengths.mean()))
    yield sum(bool(_NUMBER.search(one[1])) for one in found) / max(1, len(found))


def _matches(text: str) -> Iterable[float]:
    for pattern in _COMPILED.values():
        yield _log(len(pattern.findall(text)), 8)


def _sketch(text: str) -> NDArray[np.int8]:
    """Return the count sketch: each distinct word adds 1 + ln(count), with a sign of its own."""
    counts = Counter(_TOKEN.findall(text.lower()))
    codes = (zlib.crc32(word.encode(errors="replace")) for word in counts)
    # CRCs of similar words are alike; a multiplication by 2^64 over the golden ratio spreads them.
    hashes = np.fromiter(codes, np.uint64, len(counts)) * np.uint64(0x9E3779B97F4A7C15)
    signs = np.where(hashes >> np.uint64(63), 1.0, -1.0)
    weights = signs * (1 + np.log(np.fromiter(counts.values(), np.float64, len(counts))))
    places = (hashes >> np.uint64(20)) % np.uint64(SKETCH_SIZE)
    sums = np.bincount(places.astype(np.int64), weights, SKETCH_SIZE)
    largest = float(np.abs(sums).max()) or 1.0
    sketch: NDArray[np.int8] = np.rint(sums * (127 / largest)).astype(np.int8)
    return sketch
