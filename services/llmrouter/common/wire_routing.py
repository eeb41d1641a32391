"""What a caller asks of the selector, to protos and back."""

from __future__ import annotations

from llmrouter.common.continuation import Switching
from llmrouter.common.ensemble import Election, EnsembleWish
from llmrouter.common.generation import RoutingWishes
from llmrouter.common.truncation import Truncation
from llmrouter.common.wire import duration, seconds
from llmrouter.v1 import generation_pb2 as pb

__all__ = ["decode_routing", "encode_routing"]

_ELECTIONS = {
    pb.ELECTION_UNSPECIFIED: Election.VOTE,
    pb.ELECTION_VOTE: Election.VOTE,
    pb.ELECTION_CONFIDENCE: Election.CONFIDENCE,
    pb.ELECTION_JUDGE: Election.JUDGE,
}
_SWITCHING = {
    pb.SWITCHING_UNSPECIFIED: Switching.ANY,
    pb.SWITCHING_ANY: Switching.ANY,
    pb.SWITCHING_SAME_VERSION: Switching.SAME_VERSION,
    pb.SWITCHING_OFF: Switching.OFF,
}
_TRUNCATION = {
    pb.TRUNCATION_UNSPECIFIED: Truncation.OFF,
    pb.TRUNCATION_OFF: Truncation.OFF,
    pb.TRUNCATION_AUTO: Truncation.AUTO,
}
_TRUNCATION_OUT = {value: key for key, value in _TRUNCATION.items()}
_SWITCHING_OUT = {value: key for key, value in _SWITCHING.items()}
_ELECTIONS_OUT = {value: key for key, value in _ELECTIONS.items()}


def decode_routing(wishes: pb.RoutingWishes) -> RoutingWishes:
    """Return the wishes; bounds are checked by `validation.py`."""
    return RoutingWishes(
        model=wishes.model,
        strategy=wishes.strategy,
        min_quality=wishes.min_quality,
        max_cost=wishes.max_cost,
        tags=tuple(wishes.tags),
        max_latency=seconds(wishes.max_latency) if wishes.HasField("max_latency") else 0.0,
        max_time_to_first_token=(
            seconds(wishes.max_time_to_first_token)
            if wishes.HasField("max_time_to_first_token")
            else 0.0
        ),
        session=wishes.session,
        no_exploration=wishes.no_exploration,
        min_confidence=wishes.min_confidence,
        ensemble=_decode_ensemble(wishes.ensemble) if wishes.HasField("ensemble") else None,
        # What a newer caller may wish for that is not known here is not allowed.
        switching=_SWITCHING.get(wishes.switching, Switching.OFF),
        truncation=_TRUNCATION.get(wishes.truncation, Truncation.OFF),
    )


def encode_routing(wishes: RoutingWishes) -> pb.RoutingWishes:
    """Return the proto; what is not wished stays absent."""
    first = wishes.max_time_to_first_token
    return pb.RoutingWishes(
        model=wishes.model,
        strategy=wishes.strategy,
        min_quality=wishes.min_quality,
        max_cost=wishes.max_cost,
        tags=wishes.tags,
        max_latency=duration(wishes.max_latency) if wishes.max_latency else None,
        max_time_to_first_token=duration(first) if first else None,
        session=wishes.session,
        no_exploration=wishes.no_exploration,
        min_confidence=wishes.min_confidence,
        ensemble=None if wishes.ensemble is None else _encode_ensemble(wishes.ensemble),
        switching=_SWITCHING_OUT[wishes.switching],
        truncation=_TRUNCATION_OUT[wishes.truncation],
    )


def _decode_ensemble(wish: pb.Ensemble) -> EnsembleWish:
    """Return the wish; a way of election that is not known here is the default's."""
    return EnsembleWish(wish.models, _ELECTIONS.get(wish.election, Election.VOTE), wish.judge)


def _encode_ensemble(wish: EnsembleWish) -> pb.Ensemble:
    return pb.Ensemble(models=wish.models, election=_ELECTIONS_OUT[wish.election], judge=wish.judge)
