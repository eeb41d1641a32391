"""What is failing now, and what is done about it: a frame of the page in sentences. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from llmrouter.gateway.live.recent import CALLERS, STEP_SECONDS, STEPS

__all__ = ["Trouble", "troubles_in"]

_MOST = 40
_MINUTES = STEPS * STEP_SECONDS // 60
_FEW = 5
"""Attempts of which one that failed says little."""
_FAILING = 0.05
_NEARLY = 0.8
_ORDER = {"bad": 0, "warning": 1, "note": 2}
_NO_MODEL = "Every request is refused until a model is loaded or a provider configured."
_WITHOUT = {
    "selector": "Requests whose answers are remembered get them; the others are refused.",
    "cache": "Requests are answered by models and by this gateway's own memory.",
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is not as it should be."""

    level: Literal["bad", "warning", "note"]
    what: str
    """What is wrong."""
    done: str
    """What the suite does about it, or who can."""


def troubles_in(frame: dict[str, Any], limits: str = "") -> list[dict[str, str]]:
    """Return what is wrong in a frame, the worst first.

    Args:
        frame: As `frame_of` makes it.
        limits: What is wrong with the limits; empty while nothing is.
    """
    found = [
        *_services(frame, limits),
        *_breakers(frame["breakers"], frame["models"]),
        *_models(frame["models"]),
        *_engines(frame["engines"]),
        *_nodes(frame["nodes"]),
        *_rollouts(frame["rollouts"]),
        *_limits(frame["limits"]),
        *_requests(frame["traffic"]),
    ]
    return [asdict(one) for one in sorted(found, key=lambda one: _ORDER[one.level])[:_MOST]]


def _services(frame: dict[str, Any], limits: str) -> Iterator[Trouble]:
    for name, why in frame["away"].items():
        yield Trouble(
            "bad", f"{_begun(why)}.", _WITHOUT.get(name, "Its models are planned around.")
        )
    if not frame["models"] and "selector" not in frame["away"]:
        yield Trouble("warning", "There is no model to ask.", _NO_MODEL)
    if frame["degraded"]:
        yield Trouble("warning", frame["degraded"], "Choices go on; give it its place to write.")
    if limits:
        yield Trouble("bad", f"Limits: {limits}.", "Counting goes on once the store is back.")


def _breakers(
    breakers: Iterable[dict[str, Any]], models: Iterable[dict[str, Any]]
) -> Iterator[Trouble]:
    well: Counter[str] = Counter()  # of all versions of a model
    for model in models:
        well[model["name"]] += sum(place["breaker"] == "closed" for place in model["endpoints"])
    for one in breakers:
        what = (
            f"{one['model']} at {one['address']} failed {_times(one['failures'])} in a row"
            f" ({one['error'] or 'unknown'})."
        )
        others = well[one["model"]]
        instead = f"{_counted(others, 'other replica')} of it" if others else "other models"
        if one["state"] == "open":
            again = f"asked again in {one['retry_in']:.0f} s"
            yield Trouble("bad", what, f"Left alone: {instead} get its requests; {again}.")
        elif one["state"] == "half_open":
            yield Trouble("warning", what, f"A few requests try it; {instead} get the rest.")
        else:
            yield Trouble("note", what, "Still asked; a few more failures and it is left alone.")


def _models(models: Iterable[dict[str, Any]]) -> Iterator[Trouble]:
    for one in models:
        attempts, failures, _ = one["recent"]
        if not one["ready"] and one["attempts"]:  # one that never served is missed by nobody
            done = "Nobody gets it; named requests are refused, the others get other models."
            yield Trouble("warning", f"No endpoint serves {one['name']} any more.", done)
        if attempts >= _FEW and failures / attempts > _FAILING:
            tried = _counted(attempts, "attempt")
            what = f"{failures} of {tried} on {one['name']} failed in the last minute."
            level: Literal["bad", "warning"] = "bad" if failures * 2 > attempts else "warning"
            yield Trouble(level, what, "Its score falls; the next model in each plan answers.")


def _engines(engines: Iterable[dict[str, Any]]) -> Iterator[Trouble]:
    for one in engines:
        if one["state"] == "failed":
            what = f"{one['model']} could not be loaded: {one['error']}"
            yield Trouble("bad", what, "What served before goes on serving.")
        elif one["waiting"] > one["slots"] > 0:
            what = f"{_counted(one['waiting'], 'request')} wait for a slot of {one['model']}."
            wait = f"A new one would wait {one['wait']:.1f} s; its load counts against it."
            yield Trouble("warning", what, wait)


def _nodes(nodes: Iterable[dict[str, Any]]) -> Iterator[Trouble]:
    done = {
        "warning": "Idle models and half of the kept prefixes go.",
        "critical": "Idle models and all prefixes go; low priority is refused.",
        "emergency": "Only high priority is let in, and nothing is loaded.",
    }
    for one in nodes:
        if one["pressure"] in done:
            full = f" {one['used'] / one['limit']:.0%} full" if one["limit"] else " short"
            level: Literal["bad", "warning"] = "warning" if one["pressure"] == "warning" else "bad"
            yield Trouble(level, f"Memory at {one['address']} is{full}.", done[one["pressure"]])


def _rollouts(rollouts: Iterable[dict[str, Any]]) -> Iterator[Trouble]:
    for one in rollouts:
        if one["state"] == "rolled_back":
            what = f"{one['model']} to {one['new']} was rolled back: {one['reason']}"
            yield Trouble("warning", what, f"All its traffic is back on {one['old']}.")
        elif one["state"] == "paused":
            what = f"The rollout of {one['model']} is paused at {one['share']:.0%}."
            yield Trouble("note", what, "It keeps that share, and still rolls back.")


def _limits(limits: Iterable[dict[str, Any]]) -> Iterator[Trouble]:
    for one in limits:
        if one["share"] >= _NEARLY:
            what = f"{one['limit'].replace('_', ' ')} of {one['rule']}: {one['share']:.0%} used."
            done = f"By {one['subject']}, whose requests are refused beyond it."
            yield Trouble("note", what[:1].upper() + what[1:], done)


def _requests(traffic: dict[str, Any]) -> Iterator[Trouble]:
    ours = {name: count for name, count in traffic["outcomes"].items() if name not in CALLERS}
    theirs = {name: count for name, count in traffic["outcomes"].items() if name in CALLERS}
    if ours:
        count = _counted(sum(ours.values()), "request")
        what = f"{count} failed in {_MINUTES} minutes: {_list(ours)}."
        lately = any(traffic["failed"][-60 // STEP_SECONDS :])
        tried = "Others were tried first, as far as time and wishes allowed."
        done = tried if lately else "None within the last minute."
        yield Trouble("bad" if lately else "note", what, done)
    if theirs:
        count = _counted(sum(theirs.values()), "request")
        what = f"{count} refused in {_MINUTES} minutes: {_list(theirs)}."
        yield Trouble("note", what, "They were told why; what they asked for is not to be had.")


def _list(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    return ", ".join(f"{name.lower().replace('_', ' ')} {count:,}" for name, count in ordered)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _begun(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:].rstrip(".")
