"""`release`: a whole new release gets the traffic by stages, or none of it once it fails."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from llmrouter.cli.health import health_of
from llmrouter.cli.output import Json, err, out, write_json
from llmrouter.cli.places import Place, gateway_at
from llmrouter.cli.release_policy import Plan, Seen
from llmrouter.cli.release_shift import Command, Prometheus, Shift, Step
from llmrouter.common.errors import RouterError

__all__ = ["release"]

_HEALTH_SECONDS = 5.0
_MATCHERS = 'service="{release}-llmrouter-gateway-headless"'


def release(
    old: Annotated[str, typer.Argument(help="The release that has the traffic, such as blue.")],
    new: Annotated[str, typer.Argument(help="The release that is to get it, such as green.")],
    apply: Annotated[
        str,
        typer.Option(
            help="Command that shares the traffic; {old} and {new} become the per cent of each.",
        ),
    ],
    prometheus: Annotated[str, typer.Option(help="URL of the Prometheus that watches both.")],
    address: Annotated[str, typer.Option(help="host:port of a gateway of the new release.")],
    matchers: Annotated[
        str, typer.Option(help="Series of a release's gateways; {release} becomes its name.")
    ] = _MATCHERS,
    stages: Annotated[str, typer.Option(help="Per cent of the traffic by stage.")] = "10,30,70,100",
    interval: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a stage lasts at least.")
    ] = 300.0,
    patience: Annotated[
        float, typer.Option(min=0.1, help="Seconds in which a stage must have its requests.")
    ] = 3600.0,
    min_requests: Annotated[int, typer.Option(min=1, help="Requests that a stage needs.")] = 50,
    max_errors: Annotated[
        float, typer.Option(min=0, max=100, help="Per cent of failures that end it at once.")
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Shift the traffic of one release to another, watched; on failure all of it goes back.

    Ctrl-C gives it back as well. Failures are those by the suite's fault or for want of a model,
    not the callers'.
    """
    plan = Plan(_shares(stages), interval, max(interval, patience), min_requests, max_errors / 100)
    place, source = gateway_at(address), Prometheus(prometheus)
    of = {name: matchers.replace("{release}", name) for name in (old, new)}

    async def seen(seconds: float) -> tuple[Seen, Seen]:
        return await source.seen(of[new], seconds), await source.seen(of[old], seconds)

    def told(step: Step) -> None:
        _tell(step, as_json=as_json)

    shift = Shift(plan, apply=Command(apply), ready=lambda: _ready(place), seen=seen, told=told)
    asyncio.run(shift.run())
    if as_json:
        write_json({"event": "released", "release": new})
    else:
        out().print(f"[green]released[/] {new} has all the traffic")


def _shares(stages: str) -> tuple[int, ...]:
    told = (
        "must be whole numbers from 1 to 100 that rise, with commas between them, and end with 100"
    )
    try:
        shares = tuple(int(part) for part in stages.split(","))
    except ValueError:
        raise typer.BadParameter(told, param_hint="--stages") from None
    if shares != tuple(sorted(set(shares))) or shares[0] < 1 or shares[-1] != 100:
        raise typer.BadParameter(told, param_hint="--stages")
    return shares


async def _ready(place: Place) -> bool:
    try:
        return await health_of(place, "", _HEALTH_SECONDS) == "SERVING"
    except RouterError:
        return False


def _tell(step: Step, *, as_json: bool) -> None:
    if as_json:
        seen = {
            name: None if one is None else {"requests": one.requests, "failures": one.failures}
            for name, one in (("new", step.new), ("old", step.old))
        }
        told = {"event": "look", "share": step.share, "in_stage": round(step.in_stage, 1)}
        write_json(told | seen | ({"note": step.note} if step.note else {}))
        return
    parts = [f"{step.share:>3} %", f"{step.in_stage:.0f} s"]
    for name, one in (("new", step.new), ("old", step.old)):
        if one is not None:
            parts.append(f"{name}: {one.requests:,.0f} requests, {one.ratio:.1%} failed")
    err().print("  ".join([*parts, step.note]).rstrip(), markup=False, soft_wrap=True)
