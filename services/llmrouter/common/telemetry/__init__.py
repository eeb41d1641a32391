"""Observability: traces, metrics and what logs carry. The only room that knows OpenTelemetry."""
