"""The models of all providers: found by name, asked like any other."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llmrouter.common.capabilities import CHAT, COMPLETION, CONTINUATION, needed
from llmrouter.common.continuation import Continuation
from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    GenerationRequest,
    Message,
    RequestContext,
    Role,
    Started,
    Timings,
    Usage,
)
from llmrouter.inference.backends.base import BackendStatistics
from llmrouter.inference.remote.anthropic_codec import AnthropicCodec
from llmrouter.inference.remote.codec import Codec, Reading
from llmrouter.inference.remote.openai_codec import OpenAiCodec
from llmrouter.inference.remote.provider import Provider
from llmrouter.inference.remote.settings import ProviderSettings, RemoteModelSettings

__all__ = ["RemoteModel", "RemoteModels", "open_providers"]

_MAX_KEY_BYTES = 8192


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """One model of a provider."""

    settings: RemoteModelSettings
    provider: Provider

    @property
    def name(self) -> str:
        """What it is called here."""
        return self.settings.name

    @property
    def upstream(self) -> str:
        """What the provider calls it."""
        return self.settings.upstream or self.settings.name

    @property
    def version(self) -> str:
        """Follows from where it is asked and what for: nobody tells when its weights change."""
        where = self.provider.settings
        told = "\0".join((where.kind, where.base_url, self.upstream))
        return f"remote-{hashlib.sha256(told.encode()).hexdigest()[:12]}"

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together."""
        return self.settings.context

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can be asked for."""
        return self.provider.codec.capabilities - set(self.settings.without)

    def statistics(self) -> BackendStatistics:
        """Return the load of this moment: that of its provider."""
        provider = self.provider
        slots = provider.settings.max_concurrent
        return BackendStatistics(running=provider.running, waiting=provider.waiting, slots=slots)


class RemoteModels:
    """Every model of every provider. Used from one event loop."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._providers = tuple(providers)
        self._models = {
            model.name: RemoteModel(model, provider)
            for provider in self._providers
            for model in provider.settings.models
        }

    def __iter__(self) -> Iterator[RemoteModel]:
        return iter(self._models[name] for name in sorted(self._models))

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def provider_of(self, name: str) -> str:
        """Return the kind of API behind a model, such as `openai`; empty for other models."""
        model = self._models.get(name)
        return "" if model is None else model.provider.settings.kind

    async def generate(
        self,
        name: str,
        version: str,
        request: GenerationRequest,
        context: RequestContext,
        max_tokens: int,
        begun: Continuation | None = None,
    ) -> AsyncIterator[GenerationEvent]:
        """Answer a request by a provider.

        Args:
            name: One of its models.
            version: Empty, `stable`, or the version that it has.
            request: Validated.
            context: Who asks.
            max_tokens: Tokens generated when the request sets no limit.
            begun: The beginning of the answer where another service gave it.

        Raises:
            RouterError: UNKNOWN_MODEL, it has no such version; UNSUPPORTED_OPTION, its API cannot
                go on with an answer, or has no word for an option; as `Provider.turn`, `.events`.
        """
        model = self._models[name]
        _check(model, version, request)
        began = time.monotonic()
        start = Started(context.request_id, name, model.version, f"{name} was asked for")
        limit = min(request.sampling.max_tokens or max_tokens, model.settings.max_tokens)
        if begun is not None:
            request, limit = _going_on(model, request, begun), limit - begun.tokens
        if limit < 1:
            for event in (start, ChoiceFinished(0, FinishReason.LENGTH), Finished()):
                yield event
            return
        codec = model.provider.codec
        asked = codec.encode(request, model.upstream, limit, continued=begun is not None)
        reading = codec.reading(request)
        account = _Account(request.sampling.n)
        async with model.provider.turn(context):
            account.queued = time.monotonic() - began
            async with contextlib.aclosing(model.provider.events(asked, reading)) as events:
                async for said in events:
                    if said is not None:
                        account.see(said, time.monotonic() - began)
                    yield start if said is None else said
        account.check(model.provider.settings.name)
        yield account.finished(reading, time.monotonic() - began)

    async def close(self) -> None:
        """Let go of all connections."""
        for provider in self._providers:
            await provider.close()


class _Account:
    """What is learned of an answer as it comes. Times in seconds since the request came."""

    def __init__(self, answers: int) -> None:
        self.queued = 0.0
        self._left = set(range(answers))
        self._tokens = 0
        self._first: float | None = None

    def see(self, event: Delta | ChoiceFinished, now: float) -> None:
        """Learn from one event."""
        if isinstance(event, ChoiceFinished):
            self._left.discard(event.choice)
            return
        self._tokens += event.tokens
        self._first = now if self._first is None else self._first

    def check(self, provider: str) -> None:
        """Refuse an answer that ended before it was complete."""
        if self._left:
            told = f"{provider} broke off before the answer was complete"
            raise RouterError(Reason.UPSTREAM_UNAVAILABLE, told)

    def finished(self, reading: Reading, total: float) -> Finished:
        """Sum up: as the provider counted, else by the pieces that came."""
        first = total if self._first is None else self._first
        usage = reading.usage or Usage(0, self._tokens)
        times = Timings(self.queued, first - self.queued, total - first, first, total)
        return Finished(usage, times)


def _check(model: RemoteModel, version: str, request: GenerationRequest) -> None:
    if version not in ("", "stable", model.version):
        told = f"{model.name} has no version {version!r}; its version is {model.version}"
        raise RouterError(Reason.UNKNOWN_MODEL, told, metadata={"model": model.name})
    kind = CHAT if request.messages else COMPLETION
    if kind not in model.capabilities:
        told = f"{model.name} does not take a {kind}; its provider's API has none"
        raise RouterError(Reason.UNSUPPORTED_OPTION, told)
    if refused := needed(request) & set(model.settings.without):
        told = f"{model.name} is set to be without {', '.join(sorted(refused))}"
        raise RouterError(Reason.UNSUPPORTED_OPTION, told)


def _going_on(
    model: RemoteModel, request: GenerationRequest, begun: Continuation
) -> GenerationRequest:
    """Return the request for the rest of an answer: what was said ends the prompt."""
    if not request.messages:
        return replace(request, prompt=request.prompt + begun.text)
    if CONTINUATION not in model.capabilities:
        told = f"{model.name} cannot go on with an answer; its provider's API has no word for that"
        raise RouterError(Reason.UNSUPPORTED_OPTION, told)
    said = Message(Role.ASSISTANT, (begun.text,))
    return replace(request, messages=(*request.messages, said))


def open_providers(
    settings: Iterable[ProviderSettings], read_variable: Callable[[str], str | None]
) -> RemoteModels:
    """Return the models of all providers.

    Args:
        settings: The providers.
        read_variable: Gives an environment variable.

    Raises:
        RouterError: INVALID_ARGUMENT: a key cannot be read; two providers have a model of one name.
    """
    providers: list[Provider] = []
    seen: set[str] = set()
    for one in settings:
        names = {model.name for model in one.models}
        twice = sorted(names & seen)
        if twice:
            raise invalid("inference.providers", f"have {', '.join(twice)} twice; rename one")
        seen |= names
        providers.append(Provider(one, _codec(one), _key(one, read_variable)))
    return RemoteModels(providers)


def _codec(settings: ProviderSettings) -> Codec:
    if settings.kind == "anthropic":
        return AnthropicCodec()
    return OpenAiCodec(settings.extensions, settings.max_tokens_field)


def _key(settings: ProviderSettings, read_variable: Callable[[str], str | None]) -> str:
    field = f"inference.providers ({settings.name})"
    if settings.api_key_variable:
        found = read_variable(settings.api_key_variable)
        if not found:
            raise invalid(field, f"{settings.api_key_variable} is not set; it should hold the key")
        return _printable(found, field)
    if settings.api_key_file is None:
        return ""
    return _printable(_read(settings.api_key_file, field), field)


def _read(path: Path, field: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise invalid(field, f"the key in {path} cannot be read: {type(error).__name__}") from None


def _printable(key: str, field: str) -> str:
    """Return a key without the line's end; what a header cannot carry is refused unseen."""
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise invalid(field, "the key is empty or has characters that a header cannot carry")
    return key
