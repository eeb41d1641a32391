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
    AMOUNTS,
    ASKING,
    ASKS,
    BE,
    DETERMINERS,
    EITHER,
    FRAMES,
    FUNCTION_WORDS,
    NEGATIONS,
    NUMBERS,
    PHRASES,
    PLAIN,
    QUESTIONS,
    SAME,
    UNITS,
)

__all__ = ["Difference", "difference", "language_of"]

_WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(
    rf"{EITHER}"
    r"|(?<!\w)[.,]?\d+(?:[.,]+\d+)*"  # a number with its point
    r"|[^\W_]+"
    r"|\n[ \t]*"  # lines and how far they are indented are part of code
    r"|\S"  # signs, combining marks: each stands for itself
)
_CODE = re.compile(r"[`{}\[\]()=<>*+\\;#$|^~@/&_%]|^[-!?:.,]+$")
_CODE_SPAN = re.compile(r"`[^`]*`")
_FIRST_WORD = re.compile(r"^[^\W\d_]+")
_END = ". \t\r\n"
_QUESTION = re.compile(rf"(in [\w+#]+, )?({QUESTIONS})\b", re.IGNORECASE)
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
    does: int = 0
    """How many "does" were taken out: the verbs they go with lack their s."""


class _Turned(NamedTuple):
    """A text without its verb, which stands here in a question and there in what is told."""

    words: tuple[str, ...]
    verb: str
    alone: bool
    """Whether the word that asks takes nothing with it, unlike "how" in "how old"."""


def difference(one: str, other: str) -> Difference | None:
    """Return the first difference that matters; None where the same answer does for both."""
    if max(len(one), len(other)) > _TOO_LONG:
        return Difference.LENGTH
    language = language_of(one)
    if language != language_of(other):
        return Difference.LANGUAGE
    one, other = _without_end(one, language), _without_end(other, language)
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


def _without_end(text: str, language: str) -> str:
    """Return a text without what ends it; that of "explain empty?" is part of a name."""
    text = text.strip()
    if language != "en" or _QUESTION.match(text):
        return text.rstrip(f"{_END}?")
    return text.rstrip(_END)


def _same(one: _Said, other: _Said) -> bool:
    if len(one.words) == len(other.words) and _alike(one, other):
        return True
    asked, told = _asked(one.words), _told(other.words)
    if asked is None or told is None:
        asked, told = _asked(other.words), _told(one.words)
    return asked is not None and asked == told and one.does == other.does


def _alike(one: _Said, other: _Said) -> bool:
    """Whether two texts of as many words say the same, in the same order."""
    pairs = list(zip(one.words, other.words, strict=True))
    apart = [(at, *pair) for at, pair in enumerate(pairs) if not _equal(*pair)]
    if one.does == other.does:
        return not apart
    if len(apart) != 1 or abs(one.does - other.does) != 1:
        return False
    # "How does it work" and "how it works": one verb, whose s went into "does".
    at, bare, full = apart[0]
    if other.does:
        bare, full = full, bare
    return at > 1 and full in (f"{bare}s", f"{bare}es")


def _equal(one: str, other: str) -> bool:
    return one == other or (EITHER in (one, other) and {one, other} <= {EITHER, "is", "are"})


def _asked(words: tuple[str, ...]) -> _Turned | None:
    """Return a question by "is", such as "why is it so"; None where it is none, or has several."""
    at = _verb_at(words)
    if len(words) < 2 or at < 0:
        return None
    if at == 0:
        return _Turned(("whether", *words[1:]), words[0], True)
    if at == 1 and words[0] in ASKS:
        return _Turned((words[0], *words[2:]), words[1], True)
    if words[0] == "how" and at == (3 if words[1] in AMOUNTS else 2):
        return _Turned((*words[:at], *words[at + 1 :]), words[at], False)
    return None


def _told(words: tuple[str, ...]) -> _Turned | None:
    """Return what is told or asked about in other words, such as "why it is so"; None else."""
    at = _verb_at(words)
    if at < 2:
        return None
    alone = words[0] in PLAIN or words[1] in DETERMINERS or words[1][0].isdigit()
    if words[0] not in {*ASKS, "whether"} or not (alone or words[0] == "how"):
        return None
    return _Turned((*words[:at], *words[at + 1 :]), words[at], alone)


def _verb_at(words: tuple[str, ...]) -> int:
    """Return where the only one of `BE` stands; -1 where there is none, or several."""
    places = [at for at, word in enumerate(words) if word in BE]
    return places[0] if len(places) == 1 else -1


def _kind(one: _Said, other: _Said) -> Difference:
    """Return what is said in one text alone; nothing is where the order differs."""
    apart = {*one.words} ^ {*other.words}
    lowered = {word.lower() for word in apart}
    for kind, words in _KINDS.items():
        if lowered & words:
            return kind
    if any(word[-1].isdigit() and not word[0].isalpha() for word in apart):
        return Difference.NUMBERS
    if any(word[0].isupper() for word in apart):
        return Difference.NAMES
    if any(not word.isalnum() for word in apart):
        return Difference.SIGNS
    return Difference.WORDS if apart else Difference.ORDER


def _said(text: str, language: str) -> _Said:
    first = _FIRST_WORD.match(text)
    if first and _asks(first[0], language):
        text = text[0].lower() + text[1:]
    if language != "en":
        return _Said(tuple(_TOKEN.findall(text)))
    literal = _ON_WORDS.search(text) is not None
    for pattern, plainest in FRAMES if literal else (*PHRASES, *FRAMES):
        text = pattern.sub(plainest, text)
    words = _TOKEN.findall(text)
    if not literal:
        words = [SAME.get(word, word) for word in words]
    return _Said(tuple(word for word in words if word != "does"), words.count("does"))


def _asks(word: str, language: str) -> bool:
    """Whether the first word of a text has its capital for that alone; else it may be a name."""
    lowered = word[0].lower() + word[1:]
    return lowered in ASKING or lowered in FUNCTION_WORDS.get(language, ())


def _code(text: str) -> tuple[str, ...]:
    """Return what looks like code, to the letter."""
    spans = _CODE_SPAN.findall(text)
    rest = _CODE_SPAN.sub(" ", text).split()
    chunks = (chunk.strip(",.\"'") for chunk in rest)
    return (*spans, *(chunk for chunk in chunks if chunk and _CODE.search(chunk)))


_KINDS = {
    Difference.NEGATION: NEGATIONS,
    Difference.UNITS: UNITS | {f"{unit}s" for unit in UNITS},
    Difference.NUMBERS: NUMBERS,
}
