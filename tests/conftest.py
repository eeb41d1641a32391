"""What every test shares."""

import pytest
import structlog

import llmrouter.common  # noqa: F401 - before any test loads gRPC: it sets the least version of TLS


@pytest.fixture(autouse=True)
def unconfigured_logs():
    """A program under test may configure logging for its whole process: undo it for the next."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
