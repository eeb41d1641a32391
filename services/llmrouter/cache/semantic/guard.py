"""Refuses to take one question for another that is merely like it.

Cosine alone does not do: "turn the light on" is nearer to "turn the light off" than to many a
paraphrase. So two questions count as one only if they say the same words in the same order, once
ways of asking and a few synonyms are gone. Every other word, sign and capital letter must stand on
both sides: a question refused wrongly costs an answer anew, one taken wrongly costs trust.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from llmrouter.cache.semantic.words import (
    ASKING,
    FRAMES,
    FUNCTION_WORDS,
    NEGATIONS,
    NUMBERS,
    PHRASES,
    SAME,
    UNITS,
)

__all__ = ["Difference", "difference", "language_of"]

_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(
    r"(?<!\w)[.,]?\d+(?:[.,]+\d+)*!?"  # a number with its point; 5! is not 5
    r"|(?<!\w)[^\W\d_]!"  # nor is n! n
    r"|[^\W_]+"
    r"|\n[ \t]*"  # lines and how far they are indented are part of code
    r"|[^\s.,?!]"  # signs, combining marks: each stands for itself
    r"|[.,?!](?![\s.,?!\"'”\u2019)]|$)"  # but for what only ends a sentence
)
_CODE = re.compile(r"[`{}\[\]()=<>*+\\;#$|^~@/&_%]|^[-!?:.,]+$")
_CODE_SPAN = re.compile(r"`[^`]*`")
_FIRST_WORD = re.compile(r"^[^\W\d_]+")
_END = ".,? \t\r\n"
_MOVING = {"is": "is", "are": "is", "was": "was", "were": "was", "did": "did", "do": "do"}
"""Verbs that stand now here, now there, as in "who is the king" and "tell me who the king is"."""
_ON_WORDS = re.compile(
    r"(?<!\w)['\u2018]|['\u2019](?!\w)|[\"“”„«»]|\b(words?|letters?|terms?|translate|say|spell\w*|rhymes?|"
    r"synonyms?|antonyms?|opposite|plural|tense|pronounce|means?|meaning|define)\b",
    re.IGNORECASE,
)
"""What tells that a word itself is asked about: then no other stands for it."""
_TOO_LONG = 2048
_ANY = "en"
"""What a Latin text without any of the commonest words is taken for."""


class Difference(StrEnum):
    """Why two questions are not one."""

    LANGUAGE = "language"
    CODE = "code"
    NUMBERS = "numbers"
    UNITS = "units"
    NEGATION = "negation"
    NAMES = "names"
    WORDS = "words"
    SIGNS = "signs"
    """Neither words nor numbers."""
    ORDER = "order"
    LENGTH = "length"
    """Too long to be compared."""


class _Said(NamedTuple):
    """What a text says, once it is known how it asks."""

    words: tuple[str, ...]
    """In order."""
    moving: tuple[str, ...]
    """The one of `_MOVING` that it has; several stand among the words."""
    does: int
    """How many "does" were taken out: the verbs they go with lack their s."""


def difference(one: str, other: str) -> Difference | None:
    """Return the first difference that matters; None where the same answer does for both."""
    if max(len(one), len(other)) > _TOO_LONG:
        return Difference.LENGTH
    language = language_of(one)
    if language != language_of(other):
        return Difference.LANGUAGE
    if _code(one) != _code(other):
        return Difference.CODE
    said, also = _said(one, language), _said(other, language)
    return None if _same(said, also) else _kind(said, also)


def language_of(text: str) -> str:
    """Return a text's language, as far as its script and its commonest words tell; else its script.

    Of a short text that may be wrong, and then it shares no answers with others of its language.
    """
    letters = [letter for letter in text if letter.isalpha()]
    if not letters:
        return "none"
    foreign = [letter for letter in letters if ord(letter) > 0x24F]
    if 2 * len(foreign) > len(letters):
        return f"script-{ord(sorted(foreign)[len(foreign) // 2]) >> 8:x}"
    words = set(_WORD.findall(text.lower()))
    votes = {name: len(words & known) for name, known in FUNCTION_WORDS.items()}
    best = max(votes, key=lambda name: votes[name])
    return best if votes[best] else _ANY


def _same(one: _Said, other: _Said) -> bool:
    if one.moving != other.moving or len(one.words) != len(other.words):
        return False
    apart = [pair for pair in zip(one.words, other.words, strict=True) if pair[0] != pair[1]]
    if one.does == other.does:
        return not apart
    if abs(one.does - other.does) > 1:
        return False
    # "How does it work" and "how it works": one verb, whose s went into "does".
    bare, full = apart[0] if len(apart) == 1 else ("", "")
    if other.does:
        bare, full = full, bare
    return full in (f"{bare}s", f"{bare}es")


def _kind(one: _Said, other: _Said) -> Difference:
    """Return what is said in one text alone; nothing is where the order differs."""
    apart = {*one.words, *one.moving} ^ {*other.words, *other.moving}
    lowered = {word.lower() for word in apart}
    for kind, words in _KINDS.items():
        if lowered & words:
            return kind
    if any(word[0] in ".," or word[0].isdigit() for word in apart):
        return Difference.NUMBERS
    if any(word[0].isupper() for word in apart):
        return Difference.NAMES
    if any(not word.isalnum() for word in apart):
        return Difference.SIGNS
    return Difference.WORDS if apart else Difference.ORDER


def _said(text: str, language: str) -> _Said:
    text = text.strip().rstrip(_END)
    first = _FIRST_WORD.match(text)
    if first and _asks(first[0], language):
        text = text[0].lower() + text[1:]
    if language != "en":
        return _Said(tuple(_TOKEN.findall(text)), (), 0)
    literal = _ON_WORDS.search(text) is not None
    for pattern, plainest in FRAMES if literal else (*PHRASES, *FRAMES):
        text = pattern.sub(plainest, text)
    words = tuple(_TOKEN.findall(text))
    if literal:
        does = words.count("does")
        return _Said(tuple(word for word in words if word != "does"), (), does)
    moving = tuple(_MOVING[word] for word in words if word in _MOVING)
    if len(moving) > 1:  # of several, which goes with what is told by where they stand
        kept = (_MOVING.get(word) or SAME.get(word, word) for word in words if word != "does")
        return _Said(tuple(kept), (), words.count("does"))
    kept = (SAME.get(word, word) for word in words if word not in _MOVING and word != "does")
    return _Said(tuple(kept), moving, words.count("does"))


def _asks(word: str, language: str) -> bool:
    """Whether the first word of a text has its capital for that alone; else it may be a name."""
    lowered = word[0].lower() + word[1:]
    return lowered in ASKING or lowered in FUNCTION_WORDS.get(language, ())


def _code(text: str) -> tuple[str, ...]:
    """Return what looks like code, to the letter."""
    spans = _CODE_SPAN.findall(text)
    rest = _CODE_SPAN.sub(" ", text).split()
    chunks = (chunk.strip("?!,.\"'") for chunk in rest)
    return (*spans, *(chunk for chunk in chunks if chunk and _CODE.search(chunk)))


_KINDS = {
    Difference.NEGATION: NEGATIONS,
    Difference.UNITS: UNITS | {f"{unit}s" for unit in UNITS},
    Difference.NUMBERS: NUMBERS,
}
