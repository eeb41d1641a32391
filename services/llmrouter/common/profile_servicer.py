"""Profiles on the wire: decode, record, encode."""

from __future__ import annotations

from typing import Any

from llmrouter.common.errors import invalid
from llmrouter.common.profiling.profiler import Profile, Profiler
from llmrouter.common.wire import seconds
from llmrouter.v1 import profile_pb2 as pb
from llmrouter.v1.profile_pb2_grpc import (
    ProfileServiceServicer,
    add_ProfileServiceServicer_to_server,
)

__all__ = [
    "ACCEPTED",
    "PROFILE_SERVICE",
    "ProfileServicer",
    "add_to",
    "decode_wish",
    "encode_profile",
]

PROFILE_SERVICE = "llmrouter.v1.ProfileService"
ACCEPTED = ("llmrouter-profile", "accepted")
"""Initial metadata of the gateway, sent at once to whoever may have a profile."""
_SECONDS, _LEAST, _MOST = 5.0, 0.1, 60.0
_SAMPLES, _MAX_SAMPLES = 100, 250


class ProfileServicer(ProfileServiceServicer):
    """Records the service itself, for whoever reaches its port."""

    def __init__(self, profiler: Profiler) -> None:
        self._profiler = profiler

    async def Profile(  # noqa: N802 - the RPC's name
        self, request: pb.ProfileRequest, context: Any
    ) -> pb.ProfileResponse:
        """Record for a while."""
        if request.service:
            raise invalid("service", "must be empty here; the gateway passes it on")
        return encode_profile(await self._profiler.record(*decode_wish(request)))


def add_to(servicer: ProfileServiceServicer, server: Any) -> None:
    """Add a servicer to a server, whichever kind either is."""
    add_ProfileServiceServicer_to_server(servicer, server)


def decode_wish(request: pb.ProfileRequest) -> tuple[float, int]:
    """Return for how many seconds, and how many samples a second.

    Raises:
        RouterError: INVALID_ARGUMENT naming the field and its bounds.
    """
    wanted = seconds(request.duration) if request.HasField("duration") else _SECONDS
    if not _LEAST <= wanted <= _MOST:
        raise invalid("duration", f"is {wanted:g} s; it must be {_LEAST:g} to {_MOST:g} s")
    per_second = request.samples_per_second or _SAMPLES
    if per_second > _MAX_SAMPLES:
        told = f"is {per_second}; it must be 1 to {_MAX_SAMPLES}"
        raise invalid("samples_per_second", told)
    return wanted, per_second


def encode_profile(profile: Profile) -> pb.ProfileResponse:
    """Return the proto of a profile."""
    return pb.ProfileResponse(
        service=profile.service,
        stacks=profile.stacks,
        steps=profile.steps,
        samples=profile.samples,
        recorded_steps=profile.recorded_steps,
        truncated=profile.truncated,
    )
