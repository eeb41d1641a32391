"""Scorers: each judges one aspect of a candidate in [0, 1] and says why."""

from __future__ import annotations

from dataclasses import dataclass

from llmrouter.selector.catalog import Model, ServedModel
from llmrouter.selector.statistics import ModelStatistics
from llmrouter.selector.strategies import Strategy

__all__ = ["Component", "Estimate", "estimate", "score"]

REFERENCE_SECONDS = 2.0
"""An answer expected to take this long has the speed 0.5."""
REFERENCE_COST = 0.001
"""An answer expected to cost this many US dollars has the cost value 0.5."""
UPPER_MARGIN = 1.2
"""Prompt tokens are taken this much higher than bytes per token say."""
TEMPLATE_TOKENS = 32
"""Tokens a chat template adds at most, in the upper estimate."""


@dataclass(frozen=True, slots=True)
class Component:
    """One scorer's verdict."""

    name: str
    value: float
    """0 to 1, higher is better."""
    weight: float
    explanation: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a request is expected to need on one model."""

    model: Model
    endpoint: ServedModel
    prompt_tokens: int
    """With the upper margin."""
    fewest_prompt_tokens: int
    """Fewer no text of its size has."""
    output_tokens: int
    cost: float
    """US dollars."""
    seconds: float
    """Until the answer is complete, waiting included."""
    error_rate: float


def estimate(
    model: Model,
    endpoint: ServedModel,
    statistics: ModelStatistics,
    *,
    prompt_bytes: int,
    bytes_per_token: float,
    output_tokens: int,
    now: float,
) -> Estimate:
    """Estimate tokens, cost and time of a request on one endpoint of a model."""
    likely = prompt_bytes / bytes_per_token
    prompt_tokens = min(2**32 - 1, int(likely * UPPER_MARGIN) + TEMPLATE_TOKENS)
    entry = model.entry
    cost = (prompt_tokens * entry.input_price + output_tokens * entry.output_price) / 1e6
    queue = 1 + endpoint.waiting / max(1, endpoint.slots)
    first = statistics.time_to_first_token(now, prompt_tokens, endpoint.priors)
    per_token = statistics.seconds_per_token(now, endpoint.priors)
    seconds = queue * (first + output_tokens * per_token)
    return Estimate(
        model=model,
        endpoint=endpoint,
        prompt_tokens=prompt_tokens,
        fewest_prompt_tokens=model.fewest_tokens(prompt_bytes),
        output_tokens=output_tokens,
        cost=cost,
        seconds=seconds,
        error_rate=statistics.error_rate(now),
    )


def score(one: Estimate, strategy: Strategy, best_per_dollar: float) -> tuple[Component, ...]:
    """Return the verdicts of all scorers on one candidate.

    Args:
        one: The candidate.
        strategy: Gives the weights.
        best_per_dollar: Highest `per_dollar` among the candidates.
    """
    return (
        _speed(one, strategy.speed),
        _quality(one, strategy.quality),
        _cost(one, strategy, best_per_dollar),
        _compatibility(one, strategy.compatibility),
    )


def per_dollar(one: Estimate) -> float:
    """Return quality per US dollar; a free model counts as costing a billionth of a dollar."""
    return one.model.quality / max(one.cost, 1e-9)


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))


def _speed(one: Estimate, weight: float) -> Component:
    value = REFERENCE_SECONDS / (REFERENCE_SECONDS + one.seconds)
    explanation = (
        f"about {one.seconds:.2f} s for {one.output_tokens} tokens, "
        f"{one.endpoint.waiting} requests waiting"
    )
    return Component("speed", _unit(value), weight, explanation)


def _quality(one: Estimate, weight: float) -> Component:
    prior = one.model.entry.quality
    explanation = f"{one.model.quality:.3f}; its checkpoint has {prior:.3f} unquantised"
    return Component("quality", _unit(one.model.quality), weight, explanation)


def _cost(one: Estimate, strategy: Strategy, best_per_dollar: float) -> Component:
    explanation = f"about ${one.cost:.3g} for the request"
    if strategy.cost_per_quality:
        value = per_dollar(one) / best_per_dollar if best_per_dollar > 0 else 1.0
        explanation += f", {value:.0%} of the best quality per dollar"
    else:
        value = REFERENCE_COST / (REFERENCE_COST + one.cost)
    return Component("cost", _unit(value), strategy.cost, explanation)


def _compatibility(one: Estimate, weight: float) -> Component:
    needed = one.prompt_tokens + one.output_tokens
    room = _unit(one.model.context / (2 * needed))
    explanation = (
        f"needs about {needed} of {one.model.context} tokens of context, "
        f"{one.error_rate:.1%} of recent attempts failed"
    )
    return Component("compatibility", _unit(room * (1 - one.error_rate)), weight, explanation)
