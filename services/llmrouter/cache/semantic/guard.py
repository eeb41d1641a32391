"""Refuses to take one question for another that is merely like it.

Cosine alone does not do: "turn the light on" is nearer to "turn the light off" than to many a
paraphrase. So two questions count as one only if they are the same to the letter once a few ways of
asking are gone. Every other word, sign, blank and capital letter must stand on both sides: a
question refused wrongly costs an answer anew, one taken wrongly costs trust.
"""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum

from llmrouter.cache.semantic.words import (
    ASKING,
    FRAMES,
    FUNCTION_WORDS,
    NEGATIONS,
    NUMBERS,
    QUESTIONS,
    UNITS,
)

__all__ = ["Difference", "difference", "language_of"]

_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(
    r"(?<!\w)[.,]?\d+(?:[.,]+\d+)*"  # a number with its point
    r"|[^\W_]+"
    r"|\S"  # signs, combining marks: each stands for itself
)
_CODE = re.compile(r"[`{}\[\]()=<>*+\\;#$|^~@/&_%]|^[-!?:.,]+$")
_CODE_SPAN = re.compile(r"`[^`]*`")
_FIRST_WORD = re.compile(r"^[^\W\d_]+")
_NOT = re.compile(r"n['\u2019]t\b", re.IGNORECASE)
_QUESTION = re.compile(rf"({QUESTIONS})\b", re.IGNORECASE)
_LAST_WORD = re.compile(r"(?<!\S)([^\W_]+([-'\u2019][^\W_]+)*|-?\d+([.,]\d+)*)[.?]$")
"""A word or number alone and the mark behind it; that of "example.com." or "cd ..?" says more."""
_ON_SIGNS = re.compile(
    r"\b(reg(ular )?ex\w*|expressions?|patterns?|globs?|wildcards?|ruby|scheme|methods?|"
    r"predicates?|signs?|symbols?|operators?|titles?|suffix\w*|domains?|dots?|periods?|stops?|marks?|punctuation|quotes?|characters?|strings?)\b",
    re.IGNORECASE,
)
"""What tells that a mark may be part of what is asked about."""
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
    """Neither words nor numbers; blanks, too."""
    ORDER = "order"
    LENGTH = "length"
    """Too long to be compared."""


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
    return None if said == also else _kind(said, also)


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


def _without_end(text: str) -> str:
    """Return an English text without the mark that ends its kind, where that can say no more."""
    mark = "?" if _QUESTION.match(text) else "."
    ends = text.endswith(mark) and _LAST_WORD.search(text) and not _ON_SIGNS.search(text)
    return text[:-1] if ends and text.count("?") <= 1 else text


def _kind(one: str, other: str) -> Difference:
    """Return what is said in one text alone; nothing is where the order or the blanks differ."""
    words, others = (_TOKEN.findall(_NOT.sub(" not", text)) for text in (one, other))
    apart = {*(Counter(words) - Counter(others)), *(Counter(others) - Counter(words))}
    lowered = {word.lower() for word in apart}
    for kind, known in _KINDS.items():
        if lowered & known:
            return kind
    if any(word[-1].isdigit() and not word[0].isalpha() for word in apart):
        return Difference.NUMBERS
    if any(word[0].isupper() for word in apart):
        return Difference.NAMES
    if words == others or any(not word.isalnum() for word in apart):
        return Difference.SIGNS
    return Difference.WORDS if apart else Difference.ORDER


def _said(text: str, language: str) -> str:
    """Return a text in the way of asking that stands for all."""
    text = text.removesuffix("\n")  # a pipe's; any other blank may be asked about
    first = _FIRST_WORD.match(text)
    if first and _asks(first[0], language):
        text = text[0].lower() + text[1:]
    if language != "en":
        return text
    text = _without_end(text)
    for pattern, plainest in FRAMES:
        text = pattern.sub(plainest, text)
    return text


def _asks(word: str, language: str) -> bool:
    """Whether the first word of a text has its capital for that alone; else it may be a name."""
    lowered = word[0].lower() + word[1:]
    return lowered in ASKING or lowered in FUNCTION_WORDS.get(language, ())


def _code(text: str) -> tuple[str, ...]:
    """Return what looks like code, to the letter."""
    chunks = _CODE_SPAN.sub(" ", text).split()
    return (*_CODE_SPAN.findall(text), *(chunk for chunk in chunks if _CODE.search(chunk)))


_KINDS = {
    Difference.NEGATION: NEGATIONS,
    Difference.UNITS: UNITS | {f"{unit}s" for unit in UNITS},
    Difference.NUMBERS: NUMBERS,
}
