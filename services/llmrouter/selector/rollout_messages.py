"""Rollouts to protos and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmrouter.common.errors import Reason, RouterError, invalid
from llmrouter.common.wire import duration, seconds
from llmrouter.selector.catalog import Model
from llmrouter.selector.comparison import Logarithms, Samples
from llmrouter.selector.rollouts import Rollout, RolloutSpec, RolloutState
from llmrouter.selector.view import CatalogView
from llmrouter.v1 import selector_pb2 as pb

__all__ = ["decode_spec", "encode_rollout"]

_MAX_STAGES = 16
_LONGEST_SECONDS = 30 * 86_400
_STATES = {
    RolloutState.RUNNING: pb.ROLLOUT_STATE_RUNNING,
    RolloutState.PAUSED: pb.ROLLOUT_STATE_PAUSED,
    RolloutState.COMPLETED: pb.ROLLOUT_STATE_COMPLETED,
    RolloutState.ROLLED_BACK: pb.ROLLOUT_STATE_ROLLED_BACK,
    RolloutState.ABORTED: pb.ROLLOUT_STATE_ABORTED,
}


def decode_spec(told: pb.RolloutSpec, view: CatalogView) -> RolloutSpec:
    """Return what is to be rolled out, defaults filled in.

    Args:
        told: The message.
        view: The catalog, whose endpoints must serve both versions.

    Raises:
        RouterError: INVALID_ARGUMENT for a field out of its bounds; UNKNOWN_MODEL for a model or
            version that no endpoint serves.
    """
    old, new = _versions(told, view)
    usual = RolloutSpec(told.model, old, new)
    spec = RolloutSpec(
        model=told.model,
        old=old,
        new=new,
        stages=tuple(told.stages) or usual.stages,
        interval=seconds(told.interval) if told.HasField("interval") else usual.interval,
        min_samples=told.min_samples or usual.min_samples,
        max_error_rate=told.max_error_rate or usual.max_error_rate,
        max_slowdown=told.max_slowdown or usual.max_slowdown,
        shadow=told.shadow,
    )
    _check(spec)
    return spec


def encode_rollout(rollout: Rollout) -> pb.Rollout:
    """Return the proto of a rollout."""
    spec = rollout.spec
    return pb.Rollout(
        spec=pb.RolloutSpec(
            model=spec.model,
            new_version=spec.new,
            old_version=spec.old,
            stages=spec.stages,
            interval=duration(spec.interval),
            min_samples=spec.min_samples,
            max_error_rate=spec.max_error_rate,
            max_slowdown=spec.max_slowdown,
            shadow=spec.shadow,
        ),
        state=_STATES[rollout.state],
        stage=rollout.stage,
        share=rollout.share,
        in_stage=duration(rollout.elapsed),
        old_samples=_encode_samples(rollout.old),
        new_samples=_encode_samples(rollout.new),
        reason=rollout.reason,
    )


def _encode_samples(samples: Samples) -> pb.VersionSamples:
    told = pb.VersionSamples(attempts=samples.attempts, failures=samples.failures)
    for field, times in (
        (told.first_token_pace, samples.first),
        (told.time_per_token, samples.per_token),
    ):
        if times.count:
            field.CopyFrom(duration(_geometric_mean(times)))
    return told


def _geometric_mean(times: Logarithms) -> float:
    return math.exp(times.mean)


def _versions(told: pb.RolloutSpec, view: CatalogView) -> tuple[str, str]:
    """Return the old and the new version as fingerprints."""
    here = [model for model in view.models if model.name == told.model and not model.leaving]
    named = ", ".join(map(_told, here)) or "none"
    new = _fingerprint("new_version", told.new_version, told.model, here, named)
    old = _fingerprint("old_version", told.old_version, told.model, here, named)
    if not new:
        raise invalid("spec.new_version", f"is empty; served are {named}")
    others = [model.version for model in here if model.version != new]
    if old == new or (not old and len(others) != 1):
        raise invalid("spec.old_version", f"must name one of the others served: {named}")
    return old or others[0], new


def _fingerprint(field: str, wish: str, name: str, here: Sequence[Model], named: str) -> str:
    """Return the one version that goes by a fingerprint, label or alias; empty for an empty one."""
    exact = [model.version for model in here if model.version == wish]
    found = exact or [model.version for model in here if wish and model.goes_by(wish)]
    if wish and not found:
        raise RouterError(
            Reason.UNKNOWN_MODEL,
            f"no endpoint serves the {field} {name[:256]}@{wish[:64]}; served: {named}",
            metadata={"model": name[:256]},
        )
    if len(found) > 1:
        several = ", ".join(found)
        raise invalid(f"spec.{field}", f"{wish[:64]!r} names {several}; give one fingerprint")
    return found[0] if found else ""


def _told(model: Model) -> str:
    """Return a version with its other names."""
    names = sorted(frozenset().union(*(one.names for one in model.endpoints)))
    return f"{model.version} ({', '.join(names)})" if names else model.version


def _check(spec: RolloutSpec) -> None:
    stages = spec.stages
    rising = all(low < high for low, high in zip((0.0, *stages), stages, strict=False))
    if len(stages) > _MAX_STAGES or not rising or stages[-1] != 1:
        raise invalid("spec.stages", "must rise from over 0 to 1, in at most 16 steps")
    for name, value, least, most in (
        ("interval", spec.interval, 0.1, _LONGEST_SECONDS),
        ("min_samples", spec.min_samples, 1, 1_000_000),
        ("max_error_rate", spec.max_error_rate, 1e-6, 1),
        ("max_slowdown", spec.max_slowdown, 1, 100),
        ("shadow", spec.shadow, 0, 1),
    ):
        if not least <= value <= most:  # false for what is not a number
            raise invalid(f"spec.{name}", f"is {value}; it must be {least:g} to {most:g}")
