"""`rollout`: a new version gets the traffic by stages, or none of it once it is worse."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from llmrouter.cli.calling import TIMEOUT_SECONDS, dialled, plain
from llmrouter.cli.output import Json, facts, out, show_table, table, write_json
from llmrouter.cli.places import Place, selector_at
from llmrouter.common.wire import duration, seconds
from llmrouter.v1 import selector_pb2 as pb
from llmrouter.v1 import selector_pb2_grpc

__all__ = ["app"]

_STATES = {
    pb.ROLLOUT_STATE_RUNNING: "[cyan]running[/]",
    pb.ROLLOUT_STATE_PAUSED: "[yellow]paused[/]",
    pb.ROLLOUT_STATE_COMPLETED: "[green]completed[/]",
    pb.ROLLOUT_STATE_ROLLED_BACK: "[red]rolled back[/]",
    pb.ROLLOUT_STATE_ABORTED: "[red]aborted[/]",
}
_ACTIVE = frozenset({pb.ROLLOUT_STATE_RUNNING, pb.ROLLOUT_STATE_PAUSED})

app = typer.Typer(help="Move a model's traffic to a new version, watched.", no_args_is_help=True)

Selector = Annotated[str | None, typer.Option("--selector", help="host:port of the selector.")]
Model = Annotated[str, typer.Argument(help="The model.")]


@app.command()
def start(
    model: Model,
    version: Annotated[
        str, typer.Argument(help="The version that is to get the traffic, or a label or alias.")
    ],
    old: Annotated[str, typer.Option("--from", help="The version that has it.")] = "",
    stages: Annotated[str, typer.Option(help="Per cent of the traffic by stage.")] = "10,30,70,100",
    interval: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a stage lasts at least.")
    ] = 300.0,
    min_samples: Annotated[int, typer.Option(min=1, help="Answers that a stage needs.")] = 50,
    max_errors: Annotated[
        float, typer.Option(min=0, max=100, help="Per cent of failures that end it at once.")
    ] = 5.0,
    max_slowdown: Annotated[
        float, typer.Option(min=1, help="Times slower than before that end it.")
    ] = 1.25,
    shadow: Annotated[
        float, typer.Option(min=0, max=100, help="Per cent answered for nobody, before the first.")
    ] = 0.0,
    selector: Selector = None,
    as_json: Json = False,
) -> None:
    """Begin to roll a version out."""
    spec = pb.RolloutSpec(
        model=model,
        new_version=version,
        old_version=old,
        stages=_shares(stages),
        interval=duration(interval),
        min_samples=min_samples,
        max_error_rate=max_errors / 100,
        max_slowdown=max_slowdown,
        shadow=shadow / 100,
    )
    _tell(asyncio.run(_start(selector_at(selector, "--selector"), spec)), as_json=as_json)


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Until every rollout has ended.")] = False,
    selector: Selector = None,
    as_json: Json = False,
) -> None:
    """Show the rollouts."""
    place = selector_at(selector, "--selector")
    rollouts = asyncio.run(_list(place))
    if as_json:
        write_json(plain(rollouts))
    elif not rollouts.rollouts:
        out().print("nothing was rolled out")
    elif watch and out().is_terminal:
        _watch(place, rollouts)
    else:
        show_table(_shown(rollouts))


@app.command()
def pause(model: Model, selector: Selector = None, as_json: Json = False) -> None:
    """Hold a rollout's share as it is; it still rolls back."""
    _change(selector, model, pb.ROLLOUT_ACTION_PAUSE, as_json=as_json)


@app.command()
def resume(model: Model, selector: Selector = None, as_json: Json = False) -> None:
    """Go on after a pause."""
    _change(selector, model, pb.ROLLOUT_ACTION_RESUME, as_json=as_json)


@app.command()
def abort(model: Model, selector: Selector = None, as_json: Json = False) -> None:
    """Give all traffic back to the old version."""
    _change(selector, model, pb.ROLLOUT_ACTION_ABORT, as_json=as_json)


def _shares(stages: str) -> list[float]:
    try:
        return [float(part) / 100 for part in stages.split(",")]
    except ValueError:
        told = "must be numbers with commas between them, such as 10,30,70,100"
        raise typer.BadParameter(told, param_hint="--stages") from None


def _tell(rollout: pb.Rollout, *, as_json: bool) -> None:
    if as_json:
        write_json(plain(rollout))
    else:
        show_table(_one(rollout))


def _watch(selector: Place, rollouts: pb.ListRolloutsResponse) -> None:
    with Live(_shown(rollouts), console=out(), auto_refresh=False) as live:
        while any(one.state in _ACTIVE for one in rollouts.rollouts):
            time.sleep(1.0)
            rollouts = asyncio.run(_list(selector))
            live.update(_shown(rollouts), refresh=True)


def _shown(rollouts: pb.ListRolloutsResponse) -> Group:
    parts: list[Table | str] = []
    for one in rollouts.rollouts:
        parts += ["", _one(one), _versions(one)]
    return Group(*parts[1:])


def _one(rollout: pb.Rollout) -> Table:
    spec = rollout.spec
    stage = "shadow" if rollout.stage < 0 else f"{rollout.stage + 1} of {len(spec.stages)}"
    rows = {
        "model": f"[bold]{escape(spec.model)}[/]",
        "from": escape(spec.old_version),
        "to": escape(spec.new_version),
        "state": _STATES[rollout.state],
        "traffic": f"{rollout.share:.0%}",
        "stage": f"{stage}, for {seconds(rollout.in_stage):.0f} s of "
        f"{seconds(spec.interval):.0f} s at least",
    }
    if rollout.reason:
        rows["why"] = escape(rollout.reason)
    return facts(rows)


def _versions(rollout: pb.Rollout) -> Table:
    made = table("version", ">answers", ">failed", ">first token", ">per token")
    for version, seen in (
        (rollout.spec.old_version, rollout.old_samples),
        (rollout.spec.new_version, rollout.new_samples),
    ):
        made.add_row(
            escape(version),
            f"{seen.attempts:,}",
            f"{seen.failures / seen.attempts:.1%}" if seen.attempts else "-",
            f"{seconds(seen.first_token_pace) * 1000:.2f} ms/token",
            f"{seconds(seen.time_per_token) * 1000:.1f} ms",
        )
    return made


async def _start(selector: Place, spec: pb.RolloutSpec) -> pb.Rollout:
    async with dialled(selector) as channel:
        stub = selector_pb2_grpc.SelectorServiceStub(channel)
        request = pb.StartRolloutRequest(spec=spec)
        return (await stub.StartRollout(request, timeout=TIMEOUT_SECONDS)).rollout


async def _list(selector: Place) -> pb.ListRolloutsResponse:
    async with dialled(selector) as channel:
        stub = selector_pb2_grpc.SelectorServiceStub(channel)
        return await stub.ListRollouts(pb.ListRolloutsRequest(), timeout=TIMEOUT_SECONDS)


def _change(
    selector: str | None, model: str, action: pb.RolloutAction.ValueType, *, as_json: bool
) -> None:
    place = selector_at(selector, "--selector")
    _tell(asyncio.run(_changed(place, model, action)), as_json=as_json)


async def _changed(selector: Place, model: str, action: pb.RolloutAction.ValueType) -> pb.Rollout:
    async with dialled(selector) as channel:
        stub = selector_pb2_grpc.SelectorServiceStub(channel)
        request = pb.ChangeRolloutRequest(model=model, action=action)
        return (await stub.ChangeRollout(request, timeout=TIMEOUT_SECONDS)).rollout
