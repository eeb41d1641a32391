"""What was recorded, as files that viewers open: speedscope's, and Chrome's traces. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from llmrouter.common.profiling.stacks import Frame, Stacks

__all__ = ["Step", "chrome_trace", "speedscope"]

MAX_BYTES = 3 << 20
_SCHEMA = "https://www.speedscope.app/file-format-schema.json"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an engine; times are seconds of the monotonic clock."""

    begin: float
    planned: float
    computed: float
    end: float
    decoding: int
    """Rows that decoded."""
    prompt_tokens: int
    drafted: int


def speedscope(name: str, stacks: Stacks) -> tuple[bytes, bool]:
    """Return the file, a profile per thread, and whether stacks were left out to keep its bound."""
    heaviest = sorted(stacks.seconds.items(), key=lambda one: -one[1])
    kept = len(heaviest)
    while True:
        text = to_json(_speedscope(name, heaviest[:kept]))
        if len(text) <= MAX_BYTES:
            return text, kept < len(heaviest)
        kept //= 2


def _speedscope(
    name: str, found: Sequence[tuple[tuple[str, tuple[Frame, ...]], float]]
) -> dict[str, Any]:
    frames: dict[Frame, int] = {}
    threads: dict[str, list[tuple[list[int], float]]] = {}
    for (thread, stack), seconds in found:
        indices = [frames.setdefault(frame, len(frames)) for frame in stack]
        threads.setdefault(thread, []).append((indices, seconds))
    return {
        "$schema": _SCHEMA,
        "name": name,
        "exporter": "llmrouter",
        "shared": {
            "frames": [
                {"name": function, "file": file, "line": line} for function, file, line in frames
            ]
        },
        "profiles": [
            {
                "type": "sampled",
                "name": thread,
                "unit": "seconds",
                "startValue": 0,
                "endValue": sum(seconds for _, seconds in rows),
                "samples": [indices for indices, _ in rows],
                "weights": [seconds for _, seconds in rows],
            }
            for thread, rows in sorted(threads.items())
        ],
    }


def chrome_trace(name: str, engines: dict[str, Sequence[Step]], began: float) -> tuple[bytes, bool]:
    """Return the file, a row per engine, and whether steps were left out to keep its bound.

    Args:
        name: Of the service.
        engines: Steps by model, in order.
        began: When the recording did; times count from it.
    """
    kept = max((len(steps) for steps in engines.values()), default=0)
    cut = False
    while True:
        text = to_json(_trace(name, {one: steps[:kept] for one, steps in engines.items()}, began))
        if len(text) <= MAX_BYTES:
            return text, cut
        kept, cut = kept // 2, True


def _trace(name: str, engines: dict[str, Sequence[Step]], began: float) -> dict[str, Any]:
    events: list[dict[str, Any]] = [_named("process_name", 0, name)]
    for row, (model, steps) in enumerate(engines.items(), start=1):
        events.append(_named("thread_name", row, model))
        for step in steps:
            events += _step(step, row, began)
    return {"displayTimeUnit": "ms", "traceEvents": events}


def _named(kind: str, row: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": 1, "tid": row, "args": {"name": name}}


def _step(step: Step, row: int, began: float) -> list[dict[str, Any]]:
    told = {
        "decoding rows": step.decoding,
        "prompt tokens": step.prompt_tokens,
        "drafted tokens": step.drafted,
    }
    kind = "prefill" if not step.decoding else "decode" if not step.prompt_tokens else "mixed"
    nothing: dict[str, int] = {}
    parts = (
        (f"step: {kind}", step.begin, step.end, told),
        ("plan", step.begin, step.planned, nothing),
        ("run the decoder", step.planned, step.computed, nothing),
        ("sample and deliver", step.computed, step.end, nothing),
    )
    return [
        {
            "name": part,
            "ph": "X",
            "pid": 1,
            "tid": row,
            "ts": round((begin - began) * 1e6, 3),
            "dur": round((end - begin) * 1e6, 3),
            "args": args,
        }
        for part, begin, end, args in parts
    ]
