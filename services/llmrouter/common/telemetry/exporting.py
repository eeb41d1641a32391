"""OTLP exporters as the settings ask for them; nothing is taken from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcMetricExporter,
)
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpMetricExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpSpanExporter,
)
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

from llmrouter.common.settings import ConfigError
from llmrouter.common.telemetry.settings import TelemetrySettings

__all__ = ["metric_exporter", "span_exporter"]

_MAX_HEADERS_BYTES = 64 << 10


def span_exporter(settings: TelemetrySettings) -> SpanExporter:
    """Return what sends spans to `settings.otlp_endpoint`.

    Raises:
        ConfigError: A file that the settings name cannot be used.
    """
    if settings.otlp_protocol == "http":
        return HttpSpanExporter(**_http(settings, "traces"))
    return GrpcSpanExporter(**_grpc(settings))


def metric_exporter(settings: TelemetrySettings) -> MetricExporter:
    """Return what sends metrics there.

    Raises:
        ConfigError: As `span_exporter`.
    """
    if settings.otlp_protocol == "http":
        return HttpMetricExporter(**_http(settings, "metrics"))
    return GrpcMetricExporter(**_grpc(settings))


def _grpc(settings: TelemetrySettings) -> dict[str, Any]:
    encrypted = settings.otlp_endpoint.startswith("https://")
    credentials = None
    if encrypted:
        file = settings.otlp_certificate_file
        roots = None if file is None else _read(file, "otlp_certificate_file")
        credentials = grpc.ssl_channel_credentials(roots)
    return {
        "endpoint": settings.otlp_endpoint,
        "insecure": not encrypted,
        "credentials": credentials,
        "headers": tuple(_headers(settings).items()),
        "timeout": settings.otlp_timeout_seconds,
        "channel_options": (("grpc.enable_http_proxy", 0),),
    }


def _http(settings: TelemetrySettings, signal: str) -> dict[str, Any]:
    file = settings.otlp_certificate_file
    if file is not None:
        _read(file, "otlp_certificate_file")
    return {
        "endpoint": f"{settings.otlp_endpoint.rstrip('/')}/v1/{signal}",
        "certificate_file": None if file is None else str(file),
        "headers": _headers(settings),
        "timeout": settings.otlp_timeout_seconds,
    }


def _headers(settings: TelemetrySettings) -> dict[str, str]:
    """Return the headers of the file; names in lower case, as gRPC wants them."""
    file = settings.otlp_headers_file
    if file is None:
        return {}
    headers = {}
    for number, line in enumerate(_read(file, "otlp_headers_file").decode().splitlines(), 1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            # Not the line itself: it may be the secret.
            raise ConfigError(
                f"telemetry.otlp_headers_file: line {number} of {file} is not `name: value`"
            )
        headers[name.strip().lower()] = value.strip()
    return headers


def _read(file: Path, setting: str) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"telemetry.{setting}: {file} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_HEADERS_BYTES:
        raise ConfigError(f"telemetry.{setting}: {file} is larger than 64 KiB")
    return data
