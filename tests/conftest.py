"""What every test shares."""

import hypothesis
import pytest
import structlog

import llmrouter.common  # noqa: F401 - before any test loads gRPC: it sets the least version of TLS

# A busy machine makes no test wrong: how long an example takes says nothing.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def unconfigured_logs():
    """A program under test may configure logging for its whole process: undo it for the next."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
