"""What every service can be told about its port, besides host and number."""

from __future__ import annotations

from pydantic import Field

from llmrouter.common.settings import Section

__all__ = ["Listening"]


class Listening(Section):
    """Settings that all four services share; each section of the file has them."""

    health_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port that answers grpc.health.v1 and nothing else, for probes; absent opens "
        "none. The service's own port answers it too.",
    )
    connection_age_seconds: float = Field(
        default=300,
        ge=1,
        le=86_400,
        description="Age at which a connection is closed once its calls have finished, so that "
        "callers look their addresses up again and find new replicas.",
    )
