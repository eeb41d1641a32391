"""From keyword arguments to a GenerateRequest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

from llmrouter.v1 import generation_pb2
from llmrouter_client.arguments import check_option, check_text, refused

__all__ = [
    "CacheMode",
    "Ensemble",
    "Message",
    "Options",
    "Prompt",
    "ResponseFormat",
    "request_from",
]

_ROLES = ("system", "user", "assistant")
_ELECTIONS = ("vote", "confidence", "judge")

CacheMode: TypeAlias = Literal["off", "read", "write", "read-write", "refresh"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat; `role` is `system`, `user` or `assistant`."""

    role: Literal["system", "user", "assistant"]
    text: str


Prompt: TypeAlias = str | Sequence[Message]


class ResponseFormat(TypedDict, total=False):
    """What an answer has to match, as exactly one of these."""

    json_object: Literal[True]
    """Any JSON object."""
    json_schema: Mapping[str, Any] | str
    """A JSON Schema, as data or as JSON text of at most 64 KiB."""
    regex: str
    """A regular expression for the whole answer, in the syntax of Rust's `regex`."""
    grammar: str
    """A context-free grammar in llguidance's dialect of Lark, from its rule `start`."""


class Ensemble(TypedDict, total=False):
    """Several models that answer side by side; each answer costs its own tokens."""

    models: int
    """How many, 2 to 8."""
    election: Literal["vote", "confidence", "judge"]
    """How the best answer is found: by vote, unless said otherwise."""
    judge: str
    """Model that judges."""


class Options(TypedDict, total=False):
    """Keyword arguments of `generate` and `stream`; absent and None both take the default."""

    raw: bool
    """Give a prompt to the model as it is; by default it is one turn of the user."""
    model: str | None
    """A model name, `name@version` or alias; the selector chooses by default."""
    strategy: str | None
    """How the selector weighs: `balanced`, `quality-first`, `cost-optimized`, `speed-priority`,
    `least-loaded`, `round-robin`, `random`, `weighted`, `learned`, `cascade` or one that the
    operator configured."""
    temperature: float | None
    """0 to 2; 0 always picks the most likely token."""
    top_k: int | None
    """Draw from this many most likely tokens; 0 means all."""
    top_p: float | None
    """Draw from the smallest set of tokens with this probability mass."""
    seed: int | None
    """Makes the draws repeatable."""
    max_tokens: int | None
    """Tokens to generate at most; by default the service's `inference.max_tokens`, 1,024."""
    stop: Sequence[str] | str | None
    """One or several strings that end the answer and are not part of it."""
    min_p: float | None
    """Drop tokens less likely than this share of the most likely one; 0 to 1."""
    repetition_penalty: float | None
    """Make tokens of prompt and answer less likely; 0.01 to 10, 1 is off."""
    presence_penalty: float | None
    """Taken off the logits of tokens that the answer has; -2 to 2."""
    frequency_penalty: float | None
    """Taken off the logits of tokens for each time the answer has them; -2 to 2."""
    logit_bias: Mapping[int, float] | None
    """Added to the logits of tokens, by their ids; each -100 to 100."""
    min_tokens: int | None
    """Tokens before which nothing ends the answer."""
    n: int | None
    """Answers to generate, 1 to 16; see `Answer.choices` and `Delta.choice`."""
    logprobs: bool | None
    """Tell how likely each token was, in `Delta.logprobs` and `Choice.logprobs`."""
    top_logprobs: int | None
    """Most likely tokens told beside each one, 0 to 20; needs `logprobs`."""
    response_format: ResponseFormat | None
    """What the answer has to match, such as `{"json_schema": {...}}`; it parses unless it was cut,
    as its finish reason says."""
    cache: CacheMode | bool | None
    """What the cache may do; True is `read-write`, False is `off`; `refresh` generates anew and
    takes the place of what is stored."""
    cache_ttl: float | None
    """Seconds a stored answer lives, 1 to 31536000."""
    cache_tags: Sequence[str] | None
    """Names to invalidate the stored answer by; at most 16, each 1 to 64 bytes."""
    cache_drawn: bool | None
    """Whether answers left to chance may be read, kept and shared as well."""
    cache_stale: bool | None
    """Whether an answer that has expired may stand in when no model can answer."""
    cache_similar: bool | None
    """Whether the answer to a question that means the same will do."""
    cache_pace: Literal["original"] | float | None
    """How fast a kept answer is streamed: as it was generated, or so many tokens a second, 0.1 to
    10000; by default as fast as it is read. For streams alone."""
    min_quality: float | None
    """Lowest acceptable quality, 0 to 1."""
    max_cost: float | None
    """Highest acceptable cost of this request in US dollars, by the selector's estimate."""
    max_latency: float | None
    """Seconds that the whole answer may take, as estimated with a margin."""
    max_time_to_first_token: float | None
    """Seconds that the first token may take, likewise."""
    tags: Sequence[str] | None
    """Tags that the model must carry, such as `region=eu`."""
    session: str | None
    """Names a conversation, which stays on one version while a new one is rolled out."""
    min_confidence: float | None
    """What an answer by the strategy `cascade` needs lest the next model is asked, 0 to 1; by
    default the gateway's `cascade.threshold`."""
    ensemble: Ensemble | None
    """Asks several models at once, such as `{"models": 3, "election": "vote"}`."""
    switching: Literal["any", "same-version", "off"] | None
    """Who may go on with an answer whose model is lost in the middle: by default any model that
    can, another replica of the same version first."""
    truncation: Literal["off", "auto"] | None
    """Whether the eldest turns of a chat that fits no model may be left out: by default it is
    refused. `Started.dropped_messages` tells how many messages were."""
    explore: bool | None
    """Whether a model may answer only to be learned about, by the strategy `learned`; True by
    default."""
    priority: Literal["low", "normal", "high"] | None
    """How urgent it is, `normal` by default; a higher class takes the slots of a lower one."""
    compression: Literal["gzip"] | None
    """Compresses the question, and answers of a kilobyte or more: for links below some 150 Mbit/s.
    By default nothing is."""
    timeout: float | None
    """Seconds for the whole call, retries included; the client's by default."""


def request_from(prompt: Prompt, options: Options) -> generation_pb2.GenerateRequest:
    """Return the request.

    Raises:
        LlmrouterError: A value does not fit its field at all (a negative count, an unknown role).
        TypeError: An option that there is not.
    """
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise TypeError(f"unexpected option {unknown[0]!r}")
    _check(prompt, options)
    try:
        request = generation_pb2.GenerateRequest(
            sampling=_sampling(options),
            routing=_routing(options),
            cache=_cache(options),
            priority=_priority(options),
        )
        _set_input(request, prompt, raw=options.get("raw", False))
    except (ValueError, TypeError, OverflowError) as error:  # what the checks did not foresee
        raise refused("request", f"cannot be encoded: {error}") from None
    return request


def _check(prompt: Prompt, options: Options) -> None:
    """Refuse what does not fit its field at all; the gateway judges the rest.

    Raises:
        LlmrouterError: Naming field, value and bound.
    """
    for name, value in options.items():
        check_option(name, value)
    if isinstance(prompt, str | bytes) or not isinstance(prompt, Sequence):
        check_text("prompt", prompt, "a string or a list of Message")
        return
    if options.get("raw"):
        raise refused("prompt", "is a list of messages; with raw=True it must be one string")
    for index, turn in enumerate(prompt):
        at = f"chat.messages[{index}]"
        if not isinstance(turn, Message):
            raise refused(at, f"is a {type(turn).__name__}; it must be a Message")
        check_text(f"{at}.content", turn.text)
        if turn.role not in _ROLES:
            raise refused(f"{at}.role", f"is {turn.role!r}; it must be one of {', '.join(_ROLES)}")


def _set_input(request: generation_pb2.GenerateRequest, prompt: Prompt, *, raw: bool) -> None:
    if raw and isinstance(prompt, str):
        request.prompt = prompt
        return
    turns = [Message("user", prompt)] if isinstance(prompt, str) else prompt
    request.chat.SetInParent()
    for turn in turns:
        role = generation_pb2.Role.Value(f"ROLE_{turn.role.upper()}")
        request.chat.messages.add(role=role).content.add(text=turn.text)


def _sampling(options: Options) -> generation_pb2.SamplingOptions:
    stop = options.get("stop")
    return generation_pb2.SamplingOptions(
        temperature=options.get("temperature"),
        top_k=options.get("top_k"),
        top_p=options.get("top_p"),
        seed=options.get("seed"),
        max_tokens=options.get("max_tokens"),
        stop=[stop] if isinstance(stop, str) else stop or (),
        min_p=options.get("min_p"),
        repetition_penalty=options.get("repetition_penalty"),
        presence_penalty=options.get("presence_penalty"),
        frequency_penalty=options.get("frequency_penalty"),
        logit_bias=options.get("logit_bias") or {},
        min_tokens=options.get("min_tokens"),
        n=options.get("n"),
        logprobs=options.get("logprobs"),
        top_logprobs=options.get("top_logprobs"),
        response_format=_format(options.get("response_format")),
    )


def _format(wanted: ResponseFormat | None) -> generation_pb2.ResponseFormat | None:
    if wanted is None:
        return None
    kinds = sorted(wanted)
    if len(kinds) != 1 or kinds[0] not in ResponseFormat.__annotations__:
        known = ", ".join(ResponseFormat.__annotations__)
        raise refused("sampling.response_format", f"has {kinds}; it must have one of {known}")
    if "json_object" in wanted:
        return generation_pb2.ResponseFormat(json_object=generation_pb2.JsonObjectFormat())
    if "json_schema" in wanted:
        schema = wanted["json_schema"]
        text = schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False)
        return generation_pb2.ResponseFormat(json_schema=text)
    for name in ("regex", "grammar"):
        if name in wanted:
            check_text(f"sampling.response_format.{name}", wanted[name])
    if "regex" in wanted:
        return generation_pb2.ResponseFormat(regex=wanted["regex"])
    return generation_pb2.ResponseFormat(grammar=wanted["grammar"])


def _routing(options: Options) -> generation_pb2.RoutingWishes:
    wishes = generation_pb2.RoutingWishes(
        model=options.get("model") or "",
        strategy=options.get("strategy") or "",
        min_quality=options.get("min_quality") or 0.0,
        max_cost=options.get("max_cost") or 0.0,
        tags=options.get("tags") or (),
        session=options.get("session") or "",
        no_exploration=options.get("explore") is False,
        min_confidence=options.get("min_confidence") or 0.0,
        ensemble=_ensemble(options.get("ensemble")),
        switching=_switching(options.get("switching")),
        truncation=_truncation(options.get("truncation")),
    )
    for field, seconds in (
        (wishes.max_latency, options.get("max_latency")),
        (wishes.max_time_to_first_token, options.get("max_time_to_first_token")),
    ):
        if seconds is not None:
            field.FromNanoseconds(round(seconds * 1e9))
    return wishes


def _ensemble(wish: Ensemble | None) -> generation_pb2.Ensemble | None:
    if wish is None:
        return None
    unknown = sorted(set(wish) - set(Ensemble.__annotations__))
    if unknown:
        known = ", ".join(Ensemble.__annotations__)
        raise refused("routing.ensemble", f"has {unknown[0]!r}; it may have {known}")
    election = wish.get("election", "vote")
    if election not in _ELECTIONS:
        told = f"is {election!r}; it must be one of {', '.join(_ELECTIONS)}"
        raise refused("routing.ensemble.election", told)
    return generation_pb2.Ensemble(
        models=wish.get("models", 0),
        election=generation_pb2.Election.Value(f"ELECTION_{election.upper()}"),
        judge=wish.get("judge", ""),
    )


def _switching(wish: str | None) -> generation_pb2.Switching.ValueType:
    name = "UNSPECIFIED" if wish is None else wish.upper().replace("-", "_")
    return generation_pb2.Switching.Value(f"SWITCHING_{name}")


def _truncation(wish: str | None) -> generation_pb2.Truncation.ValueType:
    name = "UNSPECIFIED" if wish is None else wish.upper()
    return generation_pb2.Truncation.Value(f"TRUNCATION_{name}")


def _priority(options: Options) -> generation_pb2.Priority.ValueType:
    name = options.get("priority") or "normal"
    return generation_pb2.Priority.Value(f"PRIORITY_{name.upper()}")


def _cache(options: Options) -> generation_pb2.CacheWishes:
    wish = options.get("cache")
    if isinstance(wish, bool):
        wish = "read-write" if wish else "off"
    name = "UNSPECIFIED" if wish is None else wish.upper().replace("-", "_")
    wishes = generation_pb2.CacheWishes(
        mode=generation_pb2.CacheMode.Value(f"CACHE_MODE_{name}"),
        tags=options.get("cache_tags") or (),
        drawn=bool(options.get("cache_drawn")),
        stale=bool(options.get("cache_stale")),
        similar=bool(options.get("cache_similar")),
    )
    ttl = options.get("cache_ttl")
    if ttl is not None:
        wishes.ttl.FromNanoseconds(round(ttl * 1e9))
    pace = options.get("cache_pace")
    if pace == "original":
        wishes.pace.original = True
    elif pace is not None:
        wishes.pace.tokens_per_second = pace
    return wishes
