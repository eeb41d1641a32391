"""The flags of `generate` and `select` that narrow which models may answer."""

from __future__ import annotations

from typing import Annotated

import typer

from llmrouter_client import Options

__all__ = ["MaxCost", "MaxLatency", "MinQuality", "NoExploration", "Session", "Tags", "limits"]

MinQuality = Annotated[
    float | None, typer.Option(min=0, max=1, help="Lowest acceptable quality, 0 to 1.")
]
MaxCost = Annotated[
    float | None, typer.Option(min=0, help="Highest acceptable cost in US dollars, as estimated.")
]
MaxLatency = Annotated[
    float | None, typer.Option(min=0, max=86_400, help="Seconds the whole answer may take.")
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", help="A tag the model must carry, such as region=eu; repeatable."),
]
Session = Annotated[
    str | None, typer.Option(help="Keeps a conversation on one version during a rollout.")
]
NoExploration = Annotated[
    bool,
    typer.Option("--no-exploration", help="Never answer by a model only to learn about it."),
]


def limits(
    min_quality: float | None,
    max_cost: float | None,
    max_latency: float | None,
    tags: list[str] | None,
    session: str | None,
    no_exploration: bool = False,
) -> Options:
    """Return the client's options for these flags."""
    told = Options(min_quality=min_quality, max_cost=max_cost, max_latency=max_latency)
    told.update(Options(tags=tags, session=session, explore=False if no_exploration else None))
    return told
