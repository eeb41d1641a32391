"""`generate`: one question, streamed."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Literal

import typer

from llmrouter.cli import caching, formats, shaping, wishes
from llmrouter.cli.answering import show
from llmrouter.cli.asking import asking, check
from llmrouter.cli.output import Json, note_timeout
from llmrouter.cli.places import Addresses, Place, gateways_at
from llmrouter_client import Options

__all__ = [
    "MaxTokens",
    "ModelName",
    "Seed",
    "Strategy",
    "Temperature",
    "Timeout",
    "Urgency",
    "generate",
    "question_from",
]

ModelName = Annotated[str | None, typer.Option("--model", help="Ask this model, not the best.")]
Strategy = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        help="balanced, quality-first, cost-optimized, speed-priority, least-loaded, "
        "round-robin, random, weighted, learned, cascade or your own.",
    ),
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="0 (repeatable, cached) to 2.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        help="Tokens to write at most; by default inference.max_tokens of the settings, 1024.",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Makes the draws repeatable.")]
Timeout = Annotated[
    float | None, typer.Option(min=0.001, help="Seconds at most.", callback=note_timeout)
]
Urgency = Annotated[
    Literal["low", "normal", "high"] | None,
    typer.Option("--priority", help="low may wait while others run; high goes first."),
]


# In groups: a function is to fit on a screen.
# fmt: off
def generate(
    prompt: Annotated[str, typer.Argument(help="The question; - reads standard input.")],
    model: ModelName = None,
    strategy: Strategy = None,
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    top_k: Annotated[int | None, typer.Option(help="Draw from so many likely tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw from this probability mass.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Ends the answer; repeatable.")] = None,
    min_p: shaping.MinP = None,
    repetition_penalty: shaping.RepetitionPenalty = None,
    presence_penalty: shaping.PresencePenalty = None,
    frequency_penalty: shaping.FrequencyPenalty = None,
    logit_bias: shaping.LogitBias = None,
    min_tokens: shaping.MinTokens = None,
    n: shaping.Answers = None,
    logprobs: shaping.Logprobs = False,
    top_logprobs: shaping.TopLogprobs = None,
    json_object: formats.JsonObject = False, json_schema: formats.JsonSchema = None,
    regex: formats.Regex = None, grammar: formats.Grammar = None,
    no_cache: caching.NoCache = False,
    cache: caching.Cache = None,
    cache_ttl: caching.CacheTtl = None,
    cache_tag: caching.CacheTags = None,
    cache_allow: caching.CacheAllow = None, cache_pace: caching.CachePace = None,
    priority: Urgency = None,
    min_quality: wishes.MinQuality = None, max_cost: wishes.MaxCost = None,
    max_latency: wishes.MaxLatency = None,
    tag: wishes.Tags = None,
    session: wishes.Session = None,
    no_exploration: wishes.NoExploration = False, switching: wishes.Switchings = None,
    min_confidence: wishes.MinConfidence = None, ensemble: wishes.Ensembles = None,
    raw: Annotated[bool, typer.Option("--raw", help="Send it as it is, without a chat.")] = False,
    route: Annotated[bool, typer.Option(help="Show the route the answer took.")] = True,
    address: Addresses = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Ask one question and watch the answer come."""
    options = Options(model=model, strategy=strategy, raw=raw, timeout=timeout, priority=priority)
    options["switching"] = switching
    options.update(shaping.drawn(temperature, seed, top_k, top_p, min_p, max_tokens, stop, n))
    options.update(shaping.penalties(repetition_penalty, presence_penalty, frequency_penalty))
    options.update(shaping.tokens(logit_bias, logprobs, top_logprobs, min_tokens))
    options.update(formats.asked(json_object, json_schema, regex, grammar))
    options.update(wishes.limits(min_quality, max_cost, max_latency, tag, session, no_exploration))
    options.update(wishes.together(min_confidence, ensemble))
    options.update(caching.wishes(no_cache, cache, cache_ttl, cache_tag, cache_allow, cache_pace))
    asyncio.run(_generate(gateways_at(address), question_from(prompt), options, as_json, route))
# fmt: on


def question_from(given: str) -> str:
    """Return the question an argument stands for: `-` reads standard input.

    The newline that ends the last line there, as `echo` writes it, is no part of the question.

    Raises:
        typer.BadParameter: It is empty, or no UTF-8 text.
    """
    try:
        question = _piped() if given == "-" else given
        question.encode()
    except UnicodeError:
        told = "is not UTF-8 text; convert it, as with iconv"
        raise typer.BadParameter(told, param_hint="PROMPT") from None
    if not question.strip():
        raise typer.BadParameter("is empty; give a question", param_hint="PROMPT")
    return question


def _piped() -> str:
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


async def _generate(
    gateway: Place, prompt: str, options: Options, as_json: bool, route: bool
) -> None:
    check(prompt, options)
    async with asking(gateway) as client:
        await show(client.stream(prompt, **options), as_json=as_json, route=route)
