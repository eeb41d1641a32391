"""The link that cleans questions and looks through answers; what it does is told in the log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from llmrouter.common.closing import closing_stream
from llmrouter.common.embedding import EmbeddingRequest, EmbeddingResult
from llmrouter.common.errors import FieldViolation, Reason, RouterError
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    GenerationEvent,
    GenerationRequest,
    Generator,
    RequestContext,
)
from llmrouter.common.telemetry.metering import Meter
from llmrouter.common.telemetry.names import Name
from llmrouter.gateway.callers import TextEmbedder
from llmrouter.gateway.safety.json_cleaning import cleaned_json
from llmrouter.gateway.safety.policy import Act, Policy, blocked
from llmrouter.gateway.safety.scanner import Finding
from llmrouter.gateway.safety.screen import Screen
from llmrouter.gateway.safety.settings import Action, SafetySettings

__all__ = ["SafeEmbedder", "Safeguard"]

_LONG = 32_768
"""Characters of text that are looked through beside the loop, which turns between two patterns."""
_JSON = (".arguments", ".parameters")
"""How paths of texts end that are JSON."""
_log = structlog.get_logger("llmrouter.safety")


class Safeguard:
    """Lets through what the settings allow, on both ways.

    Args:
        following: Answers the cleaned questions.
        settings: What is looked for.
        policy: The same, as something to be asked.
        meter: Counts what is found; None counts nothing.
    """

    def __init__(
        self,
        following: Generator,
        settings: SafetySettings,
        policy: Policy,
        meter: Meter | None = None,
    ) -> None:
        self._following, self._settings, self._policy = following, settings, policy
        self._meter = meter

    def generate(
        self, request: GenerationRequest, context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        """Answer the cleaned question, and look through the answer.

        Raises:
            RouterError: CONTENT_BLOCKED for the question at once, for the answer where it is
                found; UNSUPPORTED_OPTION for log probabilities that would tell what is redacted.
        """
        self._check(request)
        texts = _texts_of(request)
        if _long(texts):
            return self._cleaned_beside(request, texts, context)
        passed = _cleaned(self._policy, texts, context, "question", self._meter)
        return self._answered(request, texts, passed, context)

    async def _cleaned_beside(
        self, request: GenerationRequest, texts: Mapping[str, str], context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        passed = await _passed(self._policy, texts, context, "question", self._meter)
        async with closing_stream(self._answered(request, texts, passed, context)) as events:
            async for event in events:
                yield event

    def _answered(
        self,
        request: GenerationRequest,
        texts: Mapping[str, str],
        passed: Mapping[str, str],
        context: RequestContext,
    ) -> AsyncIterator[GenerationEvent]:
        if passed != texts:
            request = _with_texts(request, passed)
        events = self._following.generate(request, context)
        return self._screened(events, context) if self._settings.answers.active else events

    def _check(self, request: GenerationRequest) -> None:
        if not self._settings.answers.altering:
            return
        wrong = {}
        if request.sampling.logprobs:
            wrong["sampling.logprobs"] = "is true, and would tell what"
        if request.tools is not None:
            wrong["tools"] = "are given, whose calls would tell what"
        for name, why in wrong.items():
            told = f"{why} this gateway hides in answers; leave it out"
            raise RouterError(
                Reason.UNSUPPORTED_OPTION,
                f"{name} {told}",
                violations=(FieldViolation(name, told),),
            )

    async def _screened(
        self, events: AsyncIterator[GenerationEvent], context: RequestContext
    ) -> AsyncIterator[GenerationEvent]:
        acts: Counter[Act] = Counter()
        altering = self._settings.answers.altering
        choices: dict[int, _Choice] = {}
        try:
            async with closing_stream(events) as stream:
                async for event in stream:
                    seen = self._seen(event, choices, acts)
                    for one in seen if altering else (event,):
                        yield one
        finally:
            _tell(context, "answer", acts, self._meter)

    def _seen(
        self, event: GenerationEvent, choices: dict[int, _Choice], acts: Counter[Act]
    ) -> Iterable[GenerationEvent]:
        """Return what may be let out once an event has come."""
        if not isinstance(event, Delta | ChoiceFinished):
            return (event,)
        choice = choices.get(event.choice)
        if choice is None:
            choice = choices[event.choice] = _Choice(Screen(self._policy.answers))
        if isinstance(event, ChoiceFinished):
            text, found = choice.screen.end()
            _judge(found, acts)
            for screen in choice.calls.values():
                _judge(screen.end()[1], acts)
            return (*choice.released(event.choice, text, last=True), event)
        choice.tokens += event.tokens
        for piece in event.tool_calls:
            heard = choice.calls.get(piece.index)
            if heard is None:
                heard = choice.calls[piece.index] = Screen(self._policy.answers)
            _judge(heard.feed(piece.arguments)[1], acts)
        text, found = choice.screen.feed(event.text) if event.text else ("", [])
        _judge(found, acts)
        return choice.released(event.choice, text)


@dataclass(slots=True)
class _Choice:
    """One choice of an answer."""

    screen: Screen
    tokens: int = field(default=0)
    """Whose text is held back."""
    calls: dict[int, Screen] = field(default_factory=dict)
    """Of tools, by their place. They are looked through alone: where answers are altered, no tools
    are taken."""

    def released(self, number: int, text: str, *, last: bool = False) -> tuple[Delta, ...]:
        """Return the delta with a text, if there is any."""
        if not text and not (last and self.tokens):
            return ()
        tokens, self.tokens = self.tokens, 0
        return (Delta(number, text, tokens),)


class SafeEmbedder:
    """Cleans texts before they become vectors.

    Args:
        following: Makes the vectors.
        policy: What is looked for.
        meter: As of `Safeguard`.
    """

    def __init__(self, following: TextEmbedder, policy: Policy, meter: Meter | None = None) -> None:
        self._following, self._policy, self._meter = following, policy, meter

    async def embed(self, request: EmbeddingRequest, context: RequestContext) -> EmbeddingResult:
        """Return the vectors of the cleaned texts.

        Raises:
            RouterError: CONTENT_BLOCKED.
        """
        named = {f"texts[{place}]": text for place, text in enumerate(request.texts)}
        passed = await _passed(self._policy, named, context, "text", self._meter)
        request = replace(request, texts=tuple(passed.values()))
        return await self._following.embed(request, context)


async def _passed(
    policy: Policy,
    texts: Mapping[str, str],
    context: RequestContext,
    where: str,
    meter: Meter | None,
) -> dict[str, str]:
    """Return texts by their paths as they may be passed on; long ones are cleaned in a thread."""
    if not _long(texts):
        return _cleaned(policy, texts, context, where, meter)
    return await asyncio.to_thread(_cleaned, policy, texts, context, where, meter)


def _long(texts: Mapping[str, str]) -> bool:
    return sum(map(len, texts.values())) > _LONG


def _cleaned(
    policy: Policy,
    texts: Mapping[str, str],
    context: RequestContext,
    where: str,
    meter: Meter | None,
) -> dict[str, str]:
    acts: Counter[Act] = Counter()
    try:
        return {name: _cleaned_one(policy, name, text, acts) for name, text in texts.items()}
    finally:
        _tell(context, where, acts, meter)


def _cleaned_one(policy: Policy, name: str, text: str, acts: Counter[Act]) -> str:
    if not name.endswith(_JSON):
        return policy.cleaned(name, text, acts)
    again: Counter[Act] = Counter()  # counted in the whole already
    return cleaned_json(
        text,
        lambda whole: policy.cleaned(name, whole, acts),
        lambda part: policy.cleaned(name, part, again),
    )


def _texts_of(request: GenerationRequest) -> dict[str, str]:
    """Return every text of a question by its path."""
    if not request.messages:
        return {"prompt": request.prompt}
    texts = {}
    for turn, message in enumerate(request.messages):
        path = f"chat.messages[{turn}]"
        for part, text in enumerate(message.parts):
            texts[f"{path}.content[{part}].text"] = text
        for place, call in enumerate(message.tool_calls):
            texts[f"{path}.tool_calls[{place}].arguments"] = call.arguments
    for place, tool in enumerate(request.tools.tools if request.tools is not None else ()):
        texts[f"tools.tools[{place}].description"] = tool.description
        texts[f"tools.tools[{place}].parameters"] = tool.parameters
    return texts


def _with_texts(request: GenerationRequest, texts: Mapping[str, str]) -> GenerationRequest:
    if not request.messages:
        return replace(request, prompt=texts["prompt"])
    passed = iter(texts.values())  # in the order of `_texts_of`
    messages = tuple(
        replace(
            one,
            parts=tuple(next(passed) for _ in one.parts),
            tool_calls=tuple(replace(call, arguments=next(passed)) for call in one.tool_calls),
        )
        for one in request.messages
    )
    tools = request.tools
    if tools is not None:
        told = (
            replace(one, description=next(passed), parameters=next(passed)) for one in tools.tools
        )
        tools = replace(tools, tools=tuple(told))
    return replace(request, messages=messages, tools=tools)


def _judge(found: Iterable[Finding], acts: Counter[Act]) -> None:
    """Count what was found in an answer; what blocks ends it."""
    for one in found:
        acts[one.rule, one.kind, one.action.value] += 1
        if one.action is Action.BLOCK:
            raise blocked("the answer", one)


def _tell(context: RequestContext, where: str, acts: Counter[Act], meter: Meter | None) -> None:
    for (rule, kind, action), count in acts.items():
        if meter is not None:
            labels = {"kind": kind, "action": action, "where": where, "tenant": context.tenant}
            meter.add(Name.SAFETY_FINDINGS, labels, count)
        _log.info(
            "safety",
            where=where,
            rule=rule,
            kind=kind,
            action=action,
            count=count,
            request_id=context.request_id,
            tenant=context.tenant,
        )
