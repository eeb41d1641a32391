"""The flags of `generate` that shape how tokens are drawn, and what is told of them."""

from __future__ import annotations

from typing import Annotated

import typer

from llmrouter_client import Options

__all__ = [
    "Answers",
    "FrequencyPenalty",
    "LogitBias",
    "Logprobs",
    "MinP",
    "MinTokens",
    "PresencePenalty",
    "RepetitionPenalty",
    "TopLogprobs",
    "biases",
    "drawn",
    "penalties",
    "tokens",
]

MinP = Annotated[
    float | None, typer.Option("--min-p", help="Drop tokens below this share of the likeliest.")
]
RepetitionPenalty = Annotated[
    float | None, typer.Option(help="Over 1: say less of what prompt and answer said.")
]
PresencePenalty = Annotated[
    float | None, typer.Option(help="-2 to 2: off the logits of what the answer said.")
]
FrequencyPenalty = Annotated[
    float | None, typer.Option(help="-2 to 2: the same, once per occurrence.")
]
LogitBias = Annotated[
    list[str] | None,
    typer.Option(metavar="TOKEN=BIAS", help="Add to a token's logit; repeatable."),
]
MinTokens = Annotated[int | None, typer.Option(help="Do not end before so many tokens.")]
Answers = Annotated[int | None, typer.Option("-n", "--n", help="Answers to write, 1 to 16.")]
Logprobs = Annotated[
    bool, typer.Option("--logprobs", help="Tell how likely each token was; see it with --json.")
]
TopLogprobs = Annotated[
    int | None, typer.Option(help="Likeliest tokens told beside each; 0 to 20, with --logprobs.")
]


def drawn(
    temperature: float | None,
    seed: int | None,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    max_tokens: int | None,
    stop: list[str] | None,
    n: int | None,
) -> Options:
    """Return how answers are drawn and where they end, as the client takes it."""
    options = Options(temperature=temperature, seed=seed, top_k=top_k, top_p=top_p, min_p=min_p)
    options.update(Options(max_tokens=max_tokens, stop=stop, n=n))
    return options


def penalties(repetition: float | None, presence: float | None, frequency: float | None) -> Options:
    """Return the penalties as the client takes them."""
    return Options(
        repetition_penalty=repetition, presence_penalty=presence, frequency_penalty=frequency
    )


def tokens(
    logit_bias: list[str] | None,
    logprobs: bool,
    top_logprobs: int | None,
    min_tokens: int | None,
) -> Options:
    """Return what concerns single tokens as the client takes it.

    Raises:
        typer.BadParameter: An entry of `logit_bias` is not `TOKEN=BIAS`.
    """
    options = Options(logit_bias=biases(logit_bias), min_tokens=min_tokens)
    options.update(Options(logprobs=logprobs or None, top_logprobs=top_logprobs))
    return options


def biases(entries: list[str] | None) -> dict[int, float]:
    """Return the logit biases by token id.

    Raises:
        typer.BadParameter: An entry is not `TOKEN=BIAS`.
    """
    found = {}
    for entry in entries or ():
        token, _, bias = entry.partition("=")
        try:
            found[int(token)] = float(bias)
        except ValueError:
            told = f"{entry!r} is not TOKEN=BIAS, as in 42=-100"
            raise typer.BadParameter(told, param_hint="--logit-bias") from None
    return found
