"""The options of `models pull` and `import` by which memory chooses the precision."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from llmrouter.cli.output import err, show_table, table, write_json
from llmrouter.common.sizes import size_text

if TYPE_CHECKING:
    from llmrouter.inference.importers.budget import Choice

__all__ = ["limits", "parse_size"]

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|[kKMGT]i?B?)?\s*", re.ASCII)
_POWERS = "KMGT"
_MAX_BYTES = 2**60


def limits(memory_budget: str | None, cache_tokens: int | None, *, as_json: bool) -> dict[str, Any]:
    """Return the arguments by which an import chooses what fits, and shows why."""
    if memory_budget is None:
        if cache_tokens is not None:
            raise typer.BadParameter("needs --memory-budget", param_hint="--cache-tokens")
        return {}
    from llmrouter.inference.importers.budget import Budget
    from llmrouter.inference.model_options import backend_options
    from llmrouter.suite import load_settings

    size = parse_size(memory_budget)
    options = backend_options(load_settings(None).inference, Path(), size)
    return {
        "budget": Budget(size, cache_tokens, options),
        "on_choice": lambda choice: _show(choice, as_json=as_json),
    }


def parse_size(text: str) -> int:
    """Return the bytes that a text such as `1.5GB` or `512MiB` stands for."""
    found = _SIZE.fullmatch(text)
    if found is None:
        problem = f"{text!r} is no size; write 2GB, 512MiB or a number of bytes"
        raise typer.BadParameter(problem, param_hint="--memory-budget")
    unit = (found[2] or "B").upper()
    power = _POWERS.find(unit[0]) + 1
    count = float(found[1]) * (1024 if "I" in unit else 1000) ** power
    if not 1 <= count <= _MAX_BYTES:
        raise typer.BadParameter(f"{text!r} is out of bounds", param_hint="--memory-budget")
    return int(count)


def _show(choice: Choice, *, as_json: bool) -> None:
    """Show what every precision would take, and which was chosen."""
    rows = [asdict(one.counted) | {"total": one.total} for one in choice.footprints]
    if as_json:
        told = zip(choice.footprints, rows, strict=True)
        write_json({
            "event": "precision", "chosen": choice.precision,
            "memory_budget": choice.budget.size_bytes,
            "footprints": [{"precision": one.precision} | row for one, row in told],
        })  # fmt: skip
        return
    budget = choice.budget.size_bytes
    made = table("precision", *(f">{part}" for part in rows[0]), f"fits {size_text(budget)}")
    for one, row in zip(choice.footprints, rows, strict=True):
        chosen = one.precision == choice.precision
        answer = "no" if one.total > budget else "chosen" if chosen else "yes"
        sizes = (size_text(size) for size in row.values())
        made.add_row(f"[bold]{one.precision}[/]" if chosen else one.precision, *sizes, answer)
    show_table(made, on=err())
    if choice.budget.cache_tokens is not None:
        held = next(one for one in choice.footprints if one.precision == choice.precision)
        needed = -(-held.counted.cache // 2**20)
        err().print(f"[dim]A service holds so many tokens with inference.cache_mib: {needed}.[/]")
