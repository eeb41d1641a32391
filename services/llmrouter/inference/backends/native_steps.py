"""The steps of the compiled engine, as profiles tell them."""

from __future__ import annotations

from collections.abc import Iterable

from llmrouter import _native
from llmrouter.common.profiling.formats import Step

__all__ = ["steps_of"]


def steps_of(records: Iterable[_native.StepRecord]) -> list[Step]:
    """Return the steps that an engine kept."""
    return [
        Step(
            begin=one.begin,
            planned=one.planned,
            computed=one.computed,
            end=one.end,
            decoding=one.decoding,
            prompt_tokens=one.prompt_tokens,
            drafted=one.drafted,
        )
        for one in records
    ]
