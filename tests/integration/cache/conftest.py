"""A server that cache services share, and two of them."""

import pytest
from tests.integration.cache.sharing import sharing
from tests.support.redis_server import running
from tests.unit.cache.serving import Clock


@pytest.fixture
async def server(tmp_path):
    async with running(tmp_path) as one:
        yield one


@pytest.fixture
async def two(server):
    clock = Clock()
    async with sharing(server.address, clock) as one, sharing(server.address, clock) as other:
        yield one, other
