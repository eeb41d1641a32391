"""The suite of `tests/integration/fuzzed`, for clients that are not ours."""

from tests.integration.fuzzed.conftest import running

__all__ = ["running"]
