"""A suite for clients that are not ours, with a provider whose model always asks for a tool."""

import pytest
from tests.integration.fuzzed.conftest import tiny_suite
from tests.support.background import in_background
from tests.unit.inference.remote.fake_provider import providing
from tests.unit.inference.remote.test_tools import OPENAI


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    """Where the services listen."""
    with in_background(providing) as fake:
        fake.script = OPENAI
        models = [{"name": "caller"}]
        provider = {"name": "fake", "base_url": fake.base_url, "models": models}
        with tiny_suite(tmp_path_factory.mktemp("clients"), providers=[provider]) as addresses:
            yield addresses
