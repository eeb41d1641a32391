"""Which of several models' answers is given: by vote, by confidence or by a judge. Pure policy."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from llmrouter.gateway.cascade import confidence

__all__ = ["Ballot", "Elected", "by_confidence", "by_judge", "by_vote", "judging_prompt"]

_MAX_ANSWERS = 16
_VERDICT = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Ballot:
    """One model's answer."""

    model: str
    text: str
    logprobs: tuple[float, ...] = ()
    """Natural logarithms of its tokens' probabilities; empty where the engine tells none."""
    cost: float = 0.0
    """US dollars."""

    @property
    def sureness(self) -> float:
        """How probable its least probable tokens are, 0 to 1; 0 where nothing is told."""
        return confidence(self.logprobs)


@dataclass(frozen=True, slots=True)
class Elected:
    """Who won, and what asking everyone cost."""

    winner: int
    """Place of the ballot, from 0."""
    cost: float
    """US dollars of all answers together, the judge's own not among them."""
    reason: str
    """One sentence for people."""


def by_vote(ballots: Sequence[Ballot]) -> Elected:
    """Elect the answer that most ballots give.

    Answers are the same when they differ only in case, white space, width of characters or marks
    at their ends. Of equally many, the group whose surest answer is surer wins, then the one given
    first; the group is spoken for by its surest answer.

    Raises:
        ValueError: There are no ballots, or more than 16.
    """
    _check(ballots)
    groups: dict[str, list[int]] = {}
    for place, one in enumerate(ballots):
        groups.setdefault(_plain(one.text), []).append(place)

    def surest(places: Sequence[int]) -> int:
        return max(places, key=lambda place: (ballots[place].sureness, -place))

    places = max(groups.values(), key=lambda group: (
        len(group), ballots[surest(group)].sureness, -group[0]
    ))  # fmt: skip
    reason = f"{len(places)} of {len(ballots)} answers agree"
    return _elected(ballots, surest(places), reason)


def by_confidence(ballots: Sequence[Ballot]) -> Elected:
    """Elect the answer whose tokens were the likeliest; the first of equals.

    Raises:
        ValueError: There are no ballots, or more than 16.
    """
    _check(ballots)
    winner = max(range(len(ballots)), key=lambda place: (ballots[place].sureness, -place))
    found = ballots[winner].sureness
    return _elected(ballots, winner, f"{ballots[winner].model} is the surest ({found:.2f})")


def judging_prompt(question: str, ballots: Sequence[Ballot]) -> str:
    """Return what a judge is asked; its answer goes to `by_judge`.

    Models are not named, so that none is preferred for its name. The judge's answer is best held to
    the regular expression `[1-9][0-9]?`.

    Raises:
        ValueError: There are no ballots, or more than 16.
    """
    _check(ballots)
    answers = "\n\n".join(
        f"Answer {place}:\n{one.text.strip()}" for place, one in enumerate(ballots, start=1)
    )
    return (
        f"Question:\n{question.strip()}\n\n{answers}\n\n"
        f"Which answer is the best? Reply with its number only, 1 to {len(ballots)}."
    )


def by_judge(ballots: Sequence[Ballot], verdict: str) -> Elected:
    """Elect the answer that a judge named; by vote when it named none that exists.

    Raises:
        ValueError: There are no ballots, or more than 16.
    """
    _check(ballots)
    named = _VERDICT.search(verdict)
    # More digits than any place has: not converted, however many a judge writes.
    place = int(named[0]) if named and len(named[0]) <= 2 else 0
    if not 1 <= place <= len(ballots):
        voted = by_vote(ballots)
        return _elected(ballots, voted.winner, f"the judge named no answer; {voted.reason}")
    return _elected(ballots, place - 1, f"the judge prefers {ballots[place - 1].model}")


def _elected(ballots: Sequence[Ballot], winner: int, reason: str) -> Elected:
    return Elected(winner, math.fsum(one.cost for one in ballots), reason)


def _check(ballots: Sequence[Ballot]) -> None:
    if not 1 <= len(ballots) <= _MAX_ANSWERS:
        raise ValueError(f"{len(ballots)} answers cannot be chosen from; 1 to {_MAX_ANSWERS} can")


def _plain(text: str) -> str:
    """Return a text without what does not make an answer another one."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(" .,;:!?\"'`*()[]") or folded
