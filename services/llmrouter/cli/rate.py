"""`rate`: how good an answer was, for learned routing."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from llmrouter.cli.asking import asking
from llmrouter.cli.output import Json, out, visible, write_json
from llmrouter.cli.places import Addresses, Place, gateways_at
from llmrouter_client import Rated, Verdict

__all__ = ["rate"]

_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
_SCORE = re.compile(rf"{_NUMBER}/(?:{_NUMBER}\.\.)?{_NUMBER}")


def rate(
    *,
    plan: Annotated[str, typer.Argument(help="Id of the plan, as an answer's route shows it.")],
    up: Annotated[bool, typer.Option("--up", help="The answer was good.")] = False,
    down: Annotated[bool, typer.Option("--down", help="It was not.")] = False,
    score: Annotated[
        str | None, typer.Option(help="On a scale: 4/5, or 4/1..5 where the worst is 1.")
    ] = None,
    judged: Annotated[
        float | None, typer.Option(min=0, max=1, help="What a judge thinks of it, 0 to 1.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Who answered, if several did.")] = None,
    address: Addresses = None,
    as_json: Json = False,
) -> None:
    """Tell how good an answer was; the strategy learned learns from it."""
    given = [up, down, score is not None, judged is not None]
    if sum(given) != 1:
        raise typer.BadParameter("give exactly one of --up, --down, --score and --judged")
    verdict: Verdict = up if judged is None else judged
    verdict = verdict if score is None else _score(score)
    rated = asyncio.run(_rate(gateways_at(address), plan, verdict, model))
    if as_json:
        write_json(asdict(rated))
        return
    name = escape(visible(rated.model))
    out().print(f"{name} got {rated.grade:.2f}; {rated.grades} of its answers are graded")


def _score(text: str) -> tuple[float, float, float]:
    """Return value, lowest and highest.

    Raises:
        typer.BadParameter: It is no score.
    """
    found = _SCORE.fullmatch(text.strip())
    if found is None:
        told = f"is {text!r}; it must be as 4/5, or 4/1..5 where the worst is 1"
        raise typer.BadParameter(told, param_hint="--score")
    return float(found[1]), float(found[2] or 0), float(found[3])


async def _rate(gateway: Place, plan: str, verdict: Verdict, model: str | None) -> Rated:
    async with asking(gateway) as client:
        return await client.rate(plan, verdict, model=model)
