"""What the selector may know of a prompt beyond its size: a small, fixed sketch instead of text.

Computed where the text is (the gateway); no text leaves it. Two parts, one byte per number:

- `shape`: how the text is built (lengths, shares of kinds of characters, question words, code,
  choices), each scaled to 0..255. See `SHAPE` for the names.
- `sketch`: a signed count sketch of its words, cut to stems, and marks, without their order
  (Charikar, Chen, Farach-Colton 2002; "feature hashing", Weinberger et al. 2009), its largest
  number 127. All words of a language share its numbers: the cosine of two sketches tells how much
  two texts have in common, and the text cannot be read from one. It is a summary, not an
  encryption: whoever guesses a text can check the guess.

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
from functools import lru_cache
from itertools import islice

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
MAX_CHARACTERS = 4096
"""Characters of a prompt that are looked at."""
_MAX_CHOICES = 64
_STEM = 5
"""Letters of a word that count for the sketch: its forms are to be one, in most languages."""

_TOKEN = re.compile(r"[^\W_]+|[^\w\s]")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_CHOICE = re.compile(r"^[ \t]*(?:\(?[A-Ha-h1-9][.):]|[-*•])[ \t]+(.*)$", re.MULTILINE)
_DIGITS = re.compile(r"[0-9]+")
_PATTERNS = {
    "blank": re.compile(r"__+"),
    "code": re.compile(r"```|\bdef \w+\(|[{};]$|=>|\bclass \w+|\bimport \w+|==", re.MULTILINE),
    "formula": re.compile(r"\$[^$]+\$|\\[a-z]+|\^|\b[a-z]\([a-z0-9]\)|[a-z0-9] ?= ?[-a-z0-9]"),
}


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORDS = {
    "common": _set(
        "the of and a an to in is was are were be been that this these those it its for on with as "
        "at by from or but not which who what has have had will would can could may one two all "
        "more if then there their they he she his her you your we i my me do does did so than into"
    ),
    "personal": _set("i me my mine he she his him her you your we our us they them"),
    "negation": _set("not except never least without cannot no nor isn don doesn didn"),
    "absolute": _set("all always none only every both neither each"),
    "compares": _set("most more less best greater better than highest lowest largest smallest"),
    "supposes": _set("if suppose assume given let consider imagine"),
    "computes": _set("calculate compute find solve evaluate determine many much sum total"),
    "explains": _set("explain describe why discuss compare because reason reasons"),
    "writes": _set("write implement create generate compose draft code function return program"),
    "rewrites": _set("translate summarize summarise rewrite correct edit list extract classify"),
    "defines": _set("define definition called known term refer refers mean means"),
    "judges": _set("should ought wrong right true false correct incorrect statement"),
    "cites": _set("according following passage text information above below excerpt"),
    "what": _set("what"),
    "which": _set("which"),
    "who": _set("who whose whom"),
    "when": _set("when year date century"),
    "how": _set("how"),
}
_SETS = {
    word: tuple(name for name, words in _WORDS.items() if word in words)
    for word in frozenset().union(*_WORDS.values())
}
"""Which of them each word is in: a prompt's few words are looked up, not all that are known."""
_KINDS = {
    "operators": b"+-*/=<>^%|\\~",
    "brackets": b"()[]{}",
    "commas": b",;:",
    "marks": b".!?'\"`",
}
SHAPE: tuple[str, ...] = (
    "characters", "lines", "sentences", "question_marks", "numbers", "largest_number",
    "ends_asking", "ends_open", "digits", "capitals", "non_ascii", *_KINDS,
    "words", "word_length", "longest_word", "distinct_words", "long_words", "words_per_sentence",
    *_WORDS, "stem", "choices", "choice_length", "longest_choice", "choice_spread",
    "choices_with_digits", "quotation", *_PATTERNS,
)  # fmt: skip
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
    """Return the features of a prompt: 0.2 ms for a paragraph, a few for hostile texts.

    Those of the latest questions are remembered: what is asked again is often kept, and cheap.
    """
    if len(text) > MAX_CHARACTERS:
        text = text[: MAX_CHARACTERS // 2] + text[-MAX_CHARACTERS // 2 :]
    return _features(text)


@lru_cache(maxsize=256)
def _features(text: str) -> PromptFeatures:
    counts = Counter(_TOKEN.findall(text.lower()))
    sentences = 1 + len(_SENTENCE_END.findall(text))
    values = [
        *_whole(text, sentences),
        *_characters(text),
        *_words(counts, sentences),
        *_choices(text),
        _log(sum(map(counts.__getitem__, '"“”«»')), 8),
        *(_log(len(pattern.findall(text)), 8) for pattern in _PATTERNS.values()),
    ]
    shape = np.rint(255 * np.clip(np.array(values), 0, 1)).astype(np.uint8)
    return PromptFeatures(shape.tobytes(), _sketch(counts).tobytes())


def _log(value: float, most: float) -> float:
    """Scale 0..`most` to 0..1 by its logarithm."""
    return math.log1p(max(0.0, value)) / math.log1p(most)


def _share(count: float, of: float) -> float:
    """Return the square root of a share, which keeps small shares apart."""
    return math.sqrt(count / of) if of else 0.0


def _whole(text: str, sentences: int) -> Iterable[float]:
    numbers = _DIGITS.findall(text)
    yield _log(len(text), MAX_CHARACTERS)
    yield _log(text.count("\n"), 200)
    yield _log(sentences, 200)
    yield _log(text.count("?"), 10)
    yield _log(len(numbers), 50)
    yield _log(max((float(one[:9]) for one in numbers), default=0.0), 1e9)
    end = text.rstrip()
    yield float(end.endswith("?"))
    yield float(end.endswith((":", "_", ",")))


def _characters(text: str) -> Iterable[float]:
    """Measure shares of kinds of characters; letters outside of ASCII are of one kind."""
    plain, size = text.encode("ascii", "ignore"), len(text)

    def count(kind: bytes) -> int:
        return len(plain) - len(plain.translate(None, kind))

    yield _share(count(b"0123456789"), size)
    yield _share(count(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"), size)
    yield _share(size - len(plain), size)
    for kind in _KINDS.values():
        yield _share(count(kind), size)


def _words(counts: Counter[str], sentences: int) -> Iterable[float]:
    known = {word: count for word, count in counts.items() if word.isalpha()}
    total = sum(known.values())
    yield _log(total, 2000)
    yield sum(len(word) * count for word, count in known.items()) / max(1, total) / 12
    yield _log(max(map(len, known), default=0), 40)
    yield len(known) / max(1, total)
    yield _share(sum(count for word, count in known.items() if len(word) > 8), total)
    yield _log(total / sentences, 100)
    sums = dict.fromkeys(_WORDS, 0)
    for word, count in known.items():
        for name in _SETS.get(word, ()):
            sums[name] += count
    for name, count in sums.items():
        # A share of those that every text has, a number of the others.
        yield _share(count, total) if name in {"common", "personal"} else _log(count, 8)


def _choices(text: str) -> Iterable[float]:
    """Measure the lines that look like choices or items, and the text before the first."""
    found = list(islice(_CHOICE.finditer(text), _MAX_CHOICES))
    yield _log(found[0].start() if found else len(text), MAX_CHARACTERS)
    if not found:
        yield from (0.0, 0.0, 0.0, 0.0, 0.0)
        return
    lengths = np.array([len(one[1]) for one in found], np.float64)
    yield _log(len(found), 20)
    yield _log(float(lengths.mean()), 1000)
    yield _log(float(lengths.max()), 1000)
    yield float(lengths.std() / (1 + lengths.mean()))
    yield sum(bool(_DIGITS.search(one[1])) for one in found) / len(found)


def _sketch(words: Counter[str]) -> NDArray[np.int8]:
    """Return the count sketch: each distinct stem adds 1 + ln(count), with a sign of its own."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        counts[word[:_STEM]] += count
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
