"""Services on a clock that tests set."""

import pytest
from tests.unit.cache.serving import Clock

from llmrouter.cache.servicer import CacheServicer
from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def opened(clock):
    """Opens services and closes their tiers at the end."""
    tiers = []

    async def open_service(**settings):
        chosen = CacheSettings(**settings)
        one, *rest = await open_tiers(chosen, chosen.disk_path, clock)
        tiers.append(one)
        return CacheServicer(chosen, one, *rest)

    yield open_service
    for one in tiers:
        await one.close()
