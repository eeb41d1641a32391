"""Whether another candidate may go on with an answer that broke off, and from where.

Only before the first token another candidate answers anew. Later it may but go on: with the tokens
themselves where it is the same version of the same model, else with the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmrouter.common.continuation import Continuation, Switched, Switching
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import Finished, GenerationRequest, Usage
from llmrouter.gateway.attempt import Trial
from llmrouter.gateway.plan import Candidate

__all__ = ["begun_for", "broken_off", "may_be_gone_on_with", "switched", "whole"]

_MAX_BYTES = 4 << 20
"""Of text that is kept in order to be gone on with."""
_STRICTEST = (Switching.OFF, Switching.SAME_VERSION, Switching.ANY)


def may_be_gone_on_with(
    request: GenerationRequest, trials: Sequence[Trial], allowed: Switching
) -> bool:
    """Whether what was sent may be gone on with by somebody.

    Args:
        request: What was asked.
        trials: All tries; those that sent something are its parts.
        allowed: What the gateway allows; the request may allow less.
    """
    options = request.sampling
    one_kind = options.n == 1 and options.response_format is None and request.tools is None
    size = sum(trial.said.size for trial in trials)
    return one_kind and _wish(request, allowed) is not Switching.OFF and size <= _MAX_BYTES


def begun_for(
    candidate: Candidate, request: GenerationRequest, trials: Sequence[Trial], allowed: Switching
) -> Continuation | None:
    """Return what a candidate would go on from; None where it may not.

    Arguments as those of `may_be_gone_on_with`.
    """
    sent = [trial for trial in trials if trial.sent]
    same = all(
        (trial.candidate.model, trial.version) == (candidate.model, candidate.version)
        for trial in sent
    )
    exact = same and all(trial.said.exact for trial in sent)
    if not same and _wish(request, allowed) is not Switching.ANY:
        return None
    if request.sampling.logprobs and not exact:
        return None  # token by token they are one model's
    return Continuation(
        "".join(text for trial in sent for text in trial.said.texts),
        tuple(token for trial in sent for token in trial.said.token_ids) if exact else (),
        sum(trial.said.tokens for trial in sent),
    )


def switched(trials: Sequence[Trial]) -> Switched:
    """Return the event for the last try's going on with what an earlier one sent."""
    now = trials[-1]
    before = [trial for trial in trials[:-1] if trial.sent]
    lost = before[-1]
    reason = Reason.UPSTREAM_UNAVAILABLE if lost.error is None else lost.error.reason
    return Switched(
        from_model=lost.candidate.model,
        from_version=lost.version,
        from_address=lost.candidate.address,
        model=now.candidate.model,
        version=now.version,
        address=now.candidate.address,
        reason=reason.value,
        tokens=sum(trial.said.tokens for trial in before),
    )


def whole(event: Finished, trials: Sequence[Trial]) -> Finished:
    """Return the end of an answer of several parts with what all of them took."""
    before = [trial for trial in trials[:-1] if trial.sent]
    if not before:
        return event
    said = sum(trial.said.tokens for trial in before)
    prompt = before[0].prompt_tokens or event.usage.prompt_tokens
    return replace(event, usage=Usage(prompt, said + event.usage.completion_tokens))


def broken_off(trials: Sequence[Trial]) -> RouterError | None:
    """Return what the caller is told once nobody can go on; None where nothing was sent."""
    errors = [trial.error for trial in trials if trial.sent and trial.error is not None]
    return errors[-1] if errors else None


def _wish(request: GenerationRequest, allowed: Switching) -> Switching:
    return min(request.routing.switching, allowed, key=_STRICTEST.index)
