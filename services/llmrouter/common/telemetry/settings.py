"""What can be configured of telemetry; nothing leaves the process unless it is asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from llmrouter.common.settings import Section

__all__ = ["MetricsPageSettings", "TelemetrySettings"]


class MetricsPageSettings(Section):
    """The page that Prometheus scrapes."""

    enabled: bool = False
    """Whether there is one."""
    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on."""
    port: int = Field(default=9464, ge=0, le=65535)
    """Port; 0 takes a free one."""


class TelemetrySettings(Section):
    """Where traces and metrics go, and how much of them (`telemetry:` in the file)."""

    otlp_endpoint: str = ""
    """Where an OpenTelemetry collector takes traces and metrics, such as http://localhost:4317;
    https:// encrypts. Empty exports nothing."""
    otlp_protocol: Literal["grpc", "http"] = "grpc"
    """How it is spoken to; its ports are usually 4317 and 4318."""
    otlp_headers_file: Path | None = None
    """File of headers sent along, one `name: value` a line: keys of the collector."""
    otlp_certificate_file: Path | None = None
    """PEM file of the authority that signed the collector's certificate; by default the
    system's."""
    otlp_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    """Wait for one export at most, retries included."""
    sampled: float = Field(default=0.1, ge=0, le=1)
    """Share of the traces that begin here to export; one that came with a caller is exported if the
    caller's is."""
    always_slower_than_seconds: float = Field(default=10.0, gt=0, le=86400)
    """Requests slower than this are exported whatever the share says, as are those that fail."""
    content: bool = False
    """Whether spans hold prompts and answers. They then leave with the traces."""
    metrics_interval_seconds: float = Field(default=15.0, ge=0.1, le=3600)
    """Time between two exports of metrics."""
    max_tenants: int = Field(default=100, ge=0, le=10_000)
    """Tenants that metrics tell apart; those that come later are `other`."""
    prometheus: MetricsPageSettings = MetricsPageSettings()
    """The page that Prometheus scrapes."""

    @field_validator("otlp_endpoint")
    @classmethod
    def _has_a_scheme(cls, endpoint: str) -> str:
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return endpoint
