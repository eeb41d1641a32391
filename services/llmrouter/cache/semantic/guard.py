"""Refuses to take one question for another that is merely like it.

Cosine alone does not do: "turn the light on" is nearer to "turn the light off" than to many a
paraphrase. So two questions count as one only if they say the same words in the same order, once
what asks rather than says is gone: ways of asking, words without a subject, endings, synonyms.
A word that is not known to be harmless must stand on both sides; what is unknown is refused.
"""

from __future__ import annotations

import re
from enum import StrEnum

from llmrouter.cache.semantic.words import FRAMES, FUNCTION_WORDS, NEGATIONS, NUMBERS, SAME, UNITS

__all__ = ["Difference", "difference", "language_of"]

_WORD = re.compile(r"[^\W_]+(?:[.,][0-9]+)*")
_CODE = re.compile(r"[`{}\[\]()=<>*+\\;#$|^~@/&_%]|^[-!?:.,]+$")
_CODE_SPAN = re.compile(r"`[^`]*`")
_SENTENCE_START = re.compile(r"(?:^|[.!?:]\s+)[\"'“(]*\w")
_PAST = frozenset({"was", "were", "did", "had"})
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
    return None if said == also else _kind(set(said) ^ set(also), one, other)


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


def _kind(apart: set[str], one: str, other: str) -> Difference:
    """Return what those words are that stand in one text alone; none do where the order differs."""
    for kind, words in _KINDS.items():
        if apart & words:
            return kind
    if any(word[0].isdigit() for word in apart):
        return Difference.NUMBERS
    if apart & (_names(one) ^ _names(other)):
        return Difference.NAMES
    return Difference.WORDS if apart else Difference.ORDER


def _said(text: str, language: str) -> tuple[str, ...]:
    """Return the words that say something, in order."""
    lowered = " ".join(text.lower().split())
    if language == "en":
        for pattern, plainest in FRAMES:
            lowered = pattern.sub(plainest, lowered)
    silent = FUNCTION_WORDS.get(language, frozenset())
    words = [word for word in _WORD.findall(lowered) if word not in silent]
    if language != "en":
        return tuple(words)
    told = tuple(_plain(word) for word in words if word not in _PAST)
    return (*told, "past") if _PAST & set(words) else told


def _plain(word: str) -> str:
    """Return the word that stands for all that say the same."""
    stem = _stem(word)
    return _SAME.get(stem, stem)


def _stem(word: str) -> str:
    """Return a word without the commonest endings; wrong ones are wrong on both sides."""
    if len(word) > 5 and word.endswith("ing"):
        word = word[:-3]
    elif len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    elif len(word) > 4 and word.endswith("ed"):
        word = word[:-2]
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


def _code(text: str) -> tuple[str, ...]:
    """Return what looks like code, to the letter."""
    spans = _CODE_SPAN.findall(text)
    rest = _CODE_SPAN.sub(" ", text).split()
    chunks = (chunk.strip("?!,.\"'") for chunk in rest)
    return (*spans, *(chunk for chunk in chunks if chunk and _CODE.search(chunk)))


def _names(text: str) -> set[str]:
    """Return the words that begin with a capital where no sentence begins, as `_plain` has them."""
    begins = {match.end() - 1 for match in _SENTENCE_START.finditer(text)}
    return {
        _plain(match[0].lower())
        for match in _WORD.finditer(text)
        if match.start() not in begins and match[0][0].isupper()
    }


_SAME = {_stem(word): _stem(meant) for word, meant in SAME.items()}
_KINDS = {
    Difference.NEGATION: {*NEGATIONS, *map(_stem, NEGATIONS)},
    Difference.UNITS: {*UNITS, *map(_stem, UNITS)},
    Difference.NUMBERS: {*NUMBERS, *map(_stem, NUMBERS)},
}
