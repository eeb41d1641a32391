"""The flags of `generate` and `select` that narrow which models may answer."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from llmrouter_client import Ensemble, Options

__all__ = [
    "Ensembles",
    "MaxCost",
    "MaxLatency",
    "MinConfidence",
    "MinQuality",
    "NoExploration",
    "Session",
    "Switchings",
    "Tags",
    "limits",
    "together",
]

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
MinConfidence = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="By --strategy cascade: how sure an answer must be."),
]
Ensembles = Annotated[
    str | None,
    typer.Option(
        "--ensemble",
        metavar="N[:HOW]",
        help="Ask N models at once; HOW is vote, confidence or judge=MODEL.",
    ),
]
Switchings = Annotated[
    Literal["any", "same-version", "off"] | None,
    typer.Option("--switching", help="Who may go on with an answer whose model is lost."),
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


def together(min_confidence: float | None, ensemble: str | None) -> Options:
    """Return the client's options for the flags of answers that several models give.

    Raises:
        typer.BadParameter: The ensemble is not `N`, `N:vote`, `N:confidence` or `N:judge=MODEL`.
    """
    if ensemble is None:
        return Options(min_confidence=min_confidence)
    count, _, how = ensemble.partition(":")
    election, _, judge = how.partition("=")
    told = f"{ensemble!r} is not N[:HOW], as in 3, 3:confidence or 3:judge=MODEL"
    if not count.isdecimal() or len(count) > 3:
        raise typer.BadParameter(told, param_hint="--ensemble")
    wish = Ensemble(models=int(count), judge=judge)
    if election in {"vote", "confidence", "judge"}:
        wish["election"] = election  # type: ignore[typeddict-item]  # it is one of them
    elif how:
        raise typer.BadParameter(told, param_hint="--ensemble")
    return Options(min_confidence=min_confidence, ensemble=wish)
