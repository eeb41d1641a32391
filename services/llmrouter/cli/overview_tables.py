"""An overview as tables for people, and as plain data for machines."""

from __future__ import annotations

import datetime as dt
from typing import Any

from rich.markup import escape
from rich.table import Table

from llmrouter.cli.breakers import STATES
from llmrouter.cli.calling import plain
from llmrouter.cli.output import milliseconds, table
from llmrouter.common.money import dollars
from llmrouter.common.overview import Overview, Rates
from llmrouter.common.sizes import size_text
from llmrouter.common.wire import seconds
from llmrouter.v1 import generation_pb2, inference_pb2, model_pb2
from llmrouter.v1 import selector_pb2 as pb

__all__ = ["breakers_table", "cache_line", "choices_table", "engines_table", "machine_data",
           "memory_line", "model_state", "models_table", "rollouts_table",
           "traffic_line"]  # fmt: skip

_ROLLOUTS = {
    pb.ROLLOUT_STATE_RUNNING: "[green]running[/]",
    pb.ROLLOUT_STATE_PAUSED: "[yellow]paused[/]",
    pb.ROLLOUT_STATE_COMPLETED: "[bold green]completed[/]",
    pb.ROLLOUT_STATE_ROLLED_BACK: "[bold red]rolled back[/]",
    pb.ROLLOUT_STATE_ABORTED: "[red]aborted[/]",
}
_PRESSURES = {
    model_pb2.MEMORY_PRESSURE_NONE: "[green]enough[/]",
    model_pb2.MEMORY_PRESSURE_WARNING: "[yellow]warning[/]",
    model_pb2.MEMORY_PRESSURE_CRITICAL: "[red]critical[/]",
    model_pb2.MEMORY_PRESSURE_EMERGENCY: "[bold red]emergency[/]",
}


def machine_data(seen: Overview) -> dict[str, Any]:
    """Return everything under the protos' own names."""
    return {
        "selector": plain(seen.catalog),
        "costs": plain(seen.costs)["costs"],
        "breakers": plain(seen.breakers)["breakers"],
        "rollouts": plain(seen.rollouts)["rollouts"],
        "choices": seen.choices,
        "cache": plain(seen.levels),
        "inference": plain(seen.nodes.get("inference", model_pb2.ModelServiceListResponse())),
        "away": {service: error.message for service, error in seen.away.items()},
    }


def traffic_line(seen: Overview) -> str:
    """Return the last minute in one line."""
    recent = [model.statistics.recent for model in seen.catalog.models]
    attempts = sum(one.attempts for one in recent)
    failures = sum(one.failures for one in recent)
    tokens = sum(one.completion_tokens for one in recent) / 60
    cost = sum(one.cost for one in recent)
    failed = f"[red]{failures:,} failed[/]" if failures else "none failed"
    return (
        f"[dim]last minute[/] [bold]{attempts:,}[/] attempts, {failed}, "
        f"[bold]{tokens:,.0f}[/] tokens/s, {dollars(cost)}"
    )


def memory_line(node: model_pb2.ModelServiceListResponse) -> str:
    """Return in one line how an inference service is off."""
    memory = node.memory
    used = _share(memory.used_bytes, memory.limit_bytes)
    models = _share(memory.model_bytes, memory.budget_bytes)
    return (
        f"[dim]memory[/] {used} ({_PRESSURES.get(memory.pressure, 'not known')}); loaded models "
        f"count for {models}  [dim]cores[/] {node.cpu:.0%}"
    )


def _share(count: int, bound: int) -> str:
    """Return bytes with their bound; without one where it is 0."""
    return f"{size_text(count)} of {size_text(bound)}" if bound else size_text(count)


def cache_line(seen: Overview) -> str:
    """Return in one line what the levels of the cache hold, and how often they had the answer."""
    told = []
    for level in seen.levels.levels:
        asked = level.hits + level.misses
        name = generation_pb2.CacheLevel.Name(level.level).removeprefix("CACHE_LEVEL_").lower()
        share = f"{level.hits / asked:.0%} of {asked:,} found" if asked else "not asked yet"
        told.append(f"{name} {level.entries:,} answers, {size_text(level.bytes)}, {share}")
    return f"[dim]cache[/] {'; '.join(told)}"


def model_state(model: pb.CatalogModel) -> str:
    """Return whether a model answers; one whose endpoints all failed too often is left alone."""
    if not model.addresses:
        return "[yellow]away[/]"
    states = [one.breaker for one in model.endpoints]
    if states and all(state == pb.BREAKER_STATE_OPEN for state in states):
        return "[red]left alone[/]"
    return "[green]ready[/]"


def models_table(seen: Overview) -> Table:
    """Return every model of the catalog with its last minute."""
    made = table("model", "state", ">quality", ">last minute", ">failed", ">TTFT", ">p95", ">cost")
    for model in seen.catalog.models:
        now, first = model.statistics, model.statistics.first_token
        made.add_row(
            f"[bold]{escape(model.name)}[/]",
            model_state(model),
            f"{model.quality:.3f}",
            f"{now.recent.attempts:,}",
            f"[red]{now.recent.failures:,}[/]" if now.recent.failures else "0",
            milliseconds(seconds(first.mean)),
            milliseconds(seconds(first.p95)),
            dollars(now.cost) if now.cost else "-",
        )
    return made


def engines_table(seen: Overview, rates: Rates) -> Table:
    """Return the models that are loaded, with what their engines do now.

    Args:
        seen: The overview.
        rates: Tokens per second, where they are known.
    """
    made = table(
        "loaded", "state", ">running", ">slots", ">waiting", ">tokens/s", ">cache", ">prefix hits"
    )
    for node, model in seen.held():
        if model.state == inference_pb2.MODEL_STATE_UNLOADED:
            continue
        now = model.statistics
        asked = now.prompt_tokens + now.reused_tokens
        rate = rates.get((node, model.name, model.version))
        state = inference_pb2.ModelState.Name(model.state).removeprefix("MODEL_STATE_").lower()
        made.add_row(
            f"[bold]{escape(model.name)}[/]",
            f"[{'green' if state == 'ready' else 'yellow'}]{state}[/]",
            f"{now.running:,}",
            f"{now.slots:,}",
            f"[yellow]{now.waiting:,}[/]" if now.waiting else "0",
            "-" if rate is None else f"{rate:,.0f}",
            size_text(now.cache_bytes + now.prefix_bytes + now.parked_bytes),
            f"{now.reused_tokens / asked:.0%}" if asked else "-",
        )
    return made


def breakers_table(seen: Overview) -> Table:
    """Return the endpoints that failed lately."""
    made = table("failing", "at", "breaker", ">in a row", "last error", "asked again")
    for one in seen.breakers.breakers:
        made.add_row(
            f"[bold]{escape(one.model)}[/]",
            escape(one.address),
            STATES[one.state],
            f"{one.failures:,}",
            escape(one.last_error),
            _again(one),
        )
    return made


def _again(one: pb.Breaker) -> str:
    """Return what is done about an endpoint that failed."""
    if one.state == pb.BREAKER_STATE_OPEN:
        return f"in {seconds(one.retry_in):.0f} s; others answer until then"
    if one.state == pb.BREAKER_STATE_HALF_OPEN:
        return "by a few requests; others answer the rest"
    return "still"


def rollouts_table(seen: Overview) -> Table:
    """Return the last rollout of every model."""
    made = table("rollout", "to", "state", ">traffic", "why")
    for one in seen.rollouts.rollouts:
        made.add_row(
            f"[bold]{escape(one.spec.model)}[/]",
            escape(one.spec.new_version),
            _ROLLOUTS.get(one.state, "not known"),
            f"{one.share:.0%}",
            escape(one.reason),
        )
    return made


def choices_table(seen: Overview) -> Table:
    """Return the newest choices, newest first: who answered, why, and what came of it."""
    made = table("chosen at", "model", "outcome", "why", "plan")
    for one in reversed(seen.choices):
        at = dt.datetime.fromtimestamp(one["at"]).astimezone()
        first = one["order"][0]["model"] if one["order"] else "-"
        made.add_row(
            f"{at:%H:%M:%S}",
            f"[bold]{escape(first)}[/]",
            _outcome(one["outcomes"]),
            escape(one["reason"]),
            f"[dim]{escape(one['plan_id'][:12])}[/]",
        )
    return made


def _outcome(outcomes: list[dict[str, Any]]) -> str:
    """Return what came of a choice: a cached answer has no outcome."""
    if not outcomes:
        return "[dim]none yet[/]"
    told = [
        f"[red]{escape(one['error_reason'])}[/]" if one["error_reason"] else "[green]answered[/]"
        for one in outcomes
    ]
    return ", ".join(told)
