"""`select`: which model would answer, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from llmrouter.cli import wishes
from llmrouter.cli.asking import check
from llmrouter.cli.calling import CONTEXT, TIMEOUT_SECONDS, dialled, plain
from llmrouter.cli.generate import MaxTokens, ModelName, Strategy, question_from
from llmrouter.cli.output import Json, counted, facts, show_table, table, write_json
from llmrouter.cli.places import Place, selector_at
from llmrouter.common.money import dollars
from llmrouter.common.text_bytes import text_bytes
from llmrouter.v1 import features_pb2, selector_pb2, selector_pb2_grpc
from llmrouter_client import Options
from llmrouter_client.requests import request_from

__all__ = ["chosen", "explained", "select"]

_MODES = {
    selector_pb2.PLAN_MODE_CASCADE: "cheapest first, the next one where the answer is not sure",
    selector_pb2.PLAN_MODE_ENSEMBLE: "all at once, and one answer of theirs is elected",
}


def select(
    *,
    prompt: Annotated[
        str, typer.Argument(help="The question, of which no text is sent; - reads stdin.")
    ],
    explain: Annotated[bool, typer.Option("--explain", help="Show every score.")] = False,
    model: ModelName = None,
    strategy: Strategy = None,
    max_tokens: MaxTokens = None,
    min_quality: wishes.MinQuality = None,
    max_cost: wishes.MaxCost = None,
    max_latency: wishes.MaxLatency = None,
    tag: wishes.Tags = None,
    session: wishes.Session = None,
    no_exploration: wishes.NoExploration = False,
    min_confidence: wishes.MinConfidence = None,
    ensemble: wishes.Ensembles = None,
    raw: Annotated[bool, typer.Option("--raw", help="As a raw prompt, without a chat.")] = False,
    address: Annotated[str | None, typer.Option(help="host:port of the selector.")] = None,
    as_json: Json = False,
) -> None:
    """Show which model would answer a question, without asking it."""
    question = question_from(prompt)
    options = Options(model=model, strategy=strategy, max_tokens=max_tokens)
    options.update(wishes.limits(min_quality, max_cost, max_latency, tag, session, no_exploration))
    options.update(wishes.together(min_confidence, ensemble))
    check(question, options)
    request = selector_pb2.SelectRequest(
        context=CONTEXT,
        routing=request_from(question, options).routing,
        prompt_bytes=text_bytes(question),
        features=_features(question),
        max_tokens=max_tokens or 0,
        capabilities=["completion" if raw else "chat"],
    )
    plan = asyncio.run(_select(selector_at(address, "--address"), request))
    if as_json:
        write_json(plain(plan))
        return
    show_table(chosen(plan))
    if explain:
        show_table(explained(plan))


def _features(question: str) -> features_pb2.PromptFeatures:
    from llmrouter.common.prompt_features import features_of
    from llmrouter.common.wire_features import encode_features

    return encode_features(features_of(question))


async def _select(selector: Place, request: selector_pb2.SelectRequest) -> selector_pb2.Plan:
    async with dialled(selector) as channel:
        stub = selector_pb2_grpc.SelectorServiceStub(channel)
        response = await stub.Select(request, timeout=TIMEOUT_SECONDS)
    return response.plan


def chosen(plan: selector_pb2.Plan) -> Table:
    """Return who answers and why, without the scores."""
    first, *others = plan.candidates
    tokens = counted(first.estimated_prompt_tokens, "prompt token")
    rows = {
        "model": f"[bold green]{escape(first.model)}[/] [dim]@ {escape(first.version)}[/]",
        "why": escape(plan.reason),
        "strategy": escape(plan.strategy),
        "fallbacks": ", ".join(_fallback(one, first) for one in others) or "none",
        "estimate": f"{tokens}, {dollars(first.estimated_cost)}",
    }
    if plan.mode in _MODES:
        rows["asked"] = _MODES[plan.mode]
    if not first.away:
        rows["served at"] = escape(first.address)
    rows["plan"] = f"[dim]{escape(plan.id)}[/]"
    return facts(rows)


def _fallback(one: selector_pb2.Candidate, first: selector_pb2.Candidate) -> str:
    """Return its name; another replica of the first by its address."""
    same = (one.model, one.version) == (first.model, first.version)
    return escape(f"{one.model} at {one.address}" if same else one.model)


def explained(plan: selector_pb2.Plan) -> Group:
    """Return every score, and everyone who may not answer."""
    scores = table("model and scorers", ">value", ">weight", ">adds", "because")
    for rank, candidate in enumerate(plan.candidates):
        style = "bold green" if rank == 0 else "bold"
        name = f"[{style}]{escape(candidate.model)}[/]"
        scores.add_row(name, "", "", f"[{style}]{candidate.score:.3f}[/]", "")
        for part in candidate.components:
            scores.add_row(
                f"  {escape(part.name)}",
                f"{part.value:.3f}",
                f"{part.weight:.2f}",
                f"{part.value * part.weight:.3f}",
                f"[dim]{escape(part.explanation)}[/]",
            )
    parts: list[Table | str] = ["", scores]
    if plan.exclusions:
        excluded = table("excluded", "because")
        for one in plan.exclusions:
            version = f" [dim]@ {escape(one.version)}[/]" if one.version else ""
            excluded.add_row(f"[yellow]{escape(one.model)}[/]{version}", escape(one.reason))
        parts += ["", excluded]
    return Group(*parts)
