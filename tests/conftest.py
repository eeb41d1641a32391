"""What every test shares."""

import hypothesis
import pytest
import structlog

import llmrouter.common  # noqa: F401 - before any test loads gRPC: it sets the least version of TLS

# No test asserts on time: on a busy machine an example may take as long as it likes.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def unconfigured_logs():
    """A program under test may configure logging for its whole process: undo it for the next."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
